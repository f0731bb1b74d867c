r"""The text that names a driver and its options: `file:path=disk.img,readonly`.

    spec   = driver [ ":" option { "," option } ]
    option = name [ "=" value ]              a name alone is a flag
    value  = { character | "\" any | '"' quoted '"' } | "(" spec ")"

A comma in a value stands in double quotes or behind a backslash. A value that begins with a
parenthesis runs to the one that closes it and is kept as text, for drivers that stand on other
drivers: `child=(file:path=a.img,readonly)`, or on several: `children=((null),(null))`. Parentheses
elsewhere in a value are ordinary.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field

from drivers.interface import SpecError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_BELOW = re.compile(r"\(|[A-Za-z][A-Za-z0-9_-]*:.*=")
_SPECIAL = re.compile(r'[\\",()]')


@dataclass(frozen=True, slots=True)
class Spec:
    """A driver's name and its options as texts; a flag's text is None."""

    driver: str
    options: dict[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        """A text that `parse` turns into an equal Spec, also when it is nested in another."""
        words = [
            name if value is None else f"{name}={_written(value)}"
            for name, value in self.options.items()
        ]
        return f"{self.driver}:{','.join(words)}" if words else self.driver


def parse(text: str) -> Spec:
    """Raises SpecError with the position, counted from 1, of what is wrong."""
    driver, at = _name(text, 0, "a driver's name, as in file:path=disk.img")
    options: dict[str, str | None] = {}
    if at < len(text) and text[at] != ":":
        raise _error(text, at, f"':' must follow the driver {driver!r}")
    while at < len(text):
        start = at + 1
        name, at = _name(text, start, f"an option's name after {text[at]!r}")
        if name in options:
            raise _error(text, start, f"option {name!r} is given twice")
        options[name] = None
        if text[at : at + 1] == "=":
            options[name], at = _value(text, at + 1)
        if at < len(text) and text[at] != ",":
            raise _error(text, at, f"',' must follow the option {name!r}")
    return Spec(driver, options)


def several(text: str, what: str) -> list[str]:
    """The specs in `(a),(b)`, or the one spec that `text` is; SpecError names `what`."""
    if not text.startswith("("):
        return [text]
    found: list[str] = []
    at = 0
    while True:
        end = _closing(text, at)
        found.append(text[at + 1 : end])
        at = end + 2
        if end + 1 == len(text):
            return found
        if not text.startswith(",(", end + 1):
            raise SpecError(f"{what} must be specs in parentheses, as in ((null),(null))")


def _error(text: str, at: int, problem: str) -> SpecError:
    return SpecError(f"spec {text!r}: {problem} (at character {at + 1})")


def _name(text: str, at: int, what: str) -> tuple[str, int]:
    match = _NAME.match(text, at)
    if match is None:
        raise _error(text, at, f"need {what}")
    return match.group(), match.end()


def _value(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] == "(":
        end = _closing(text, at)
        return text[at + 1 : end], end + 1
    value: list[str] = []
    quote = -1
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
            if at == len(text):
                raise _error(text, at - 1, "nothing follows the backslash")
            value.append(text[at])
        elif character == '"':
            quote = at if quote < 0 else -1
        elif character == "," and quote < 0:
            break
        else:
            value.append(character)
        at += 1
    if quote >= 0:
        raise _error(text, quote, "the double quote is not closed")
    return "".join(value), at


def _closing(text: str, start: int) -> int:
    """Where the parenthesis at `start` closes; quoted and escaped ones do not count."""
    depth = 0
    quoted = False
    at = start
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return at
        at += 1
    raise _error(text, start, "the parenthesis is not closed")


def _written(value: str) -> str:
    """In parentheses if it looks like a driver below, which then stays legible."""
    if _BELOW.match(value):
        nested = f"({value})"
        with suppress(SpecError):
            if _closing(nested, 0) == len(value) + 1:
                return nested
    return _SPECIAL.sub(_escaped, value)


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match.group()
