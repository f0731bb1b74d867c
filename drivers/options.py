"""Typed options: a driver's dataclass filled from the texts of a spec.

Understood are `str`, `pathlib.Path`, `int` (decimal or 0x...), `float`, `Size` (bytes, with K, M,
G, T for powers of 1024), `Seconds` (20us, 5ms, 1.5s, 2m), `Shift` (the same, and -3600s), `Literal`
of texts, `bool` (a name alone is true; on/off, yes/no, true/false otherwise), `Child` (a spec in
parentheses), `tuple[Child, ...]` (several, as `((null:size=1M),(null:size=1M))`), and any of these
`| None`. A field with a default may be left out. `__post_init__` may refuse a value by ValueError.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NewType, get_args, get_origin, get_type_hints

from drivers.interface import Child, DriverError, Keep, SpecError
from drivers.raised import one_line, raised
from drivers.spec import several

Size = NewType("Size", int)
Seconds = NewType("Seconds", float)
Shift = NewType("Shift", float)  # seconds
Adopt = Callable[[str, str, str], Child]  # of an option's name, whose it is, and a spec

_SIZE = re.compile(r"(\d+)([KMGTkmgt]?)(?:i?[Bb])?")
_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
# The most that the calls of the host take: whole sectors of a file, milliseconds of a poll. And of
# a shift, what leaves a clock with a date.
_LARGEST = (1 << 63) - 512
_LONGEST = 1e6
_FARTHEST = 1e10
_TRUTH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


class TooLargeError(ValueError):
    """A number that is one, and larger than any that is of use; its text says what the most is."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause of an error message that says what `word` could have been."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, 1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"


def fill(
    wanted: type[Any], texts: Mapping[str, str | None], who: str, keep: Keep, adopt: Adopt
) -> Any:
    """An instance of the dataclass `wanted`; SpecError names `who` and the option at fault.
    Another DriverError if it cannot be made, though nothing is wrong with the texts.
    """
    types = get_type_hints(wanted)
    fields = {f.name: f for f in dataclasses.fields(wanted)}
    given = [name for name in fields if types[name] is not Keep]
    for name in texts:
        if name not in given:
            raise SpecError(f"{who} has no option {name!r}{nearest(name, given)}")
    values: dict[str, Any] = {name: keep for name in fields if name not in given}
    for name in given:
        if name in texts:
            what = f"{who}: option {name!r}"
            values[name] = _value(types[name], texts[name], what, partial(adopt, name, who))
        elif _required(fields[name]):
            raise SpecError(f"{who} needs the option {name!r}: add {name}=...")
    try:
        return wanted(**values)
    except ValueError as error:
        raise SpecError(f"{who}: {one_line(str(error))}") from None
    except BaseException as error:  # also one that wants to end the process
        if not (why := raised(error)):
            raise
        raise DriverError(f"{who}: Options raise {why} (ValueError refuses a value)") from None


def understood(kind: Any) -> bool:
    """Whether an option may be of this type."""
    arms = [arm for arm in get_args(kind) if arm is not NoneType]
    if NoneType in get_args(kind) and len(arms) > 1:
        return False
    kind = without_none(kind)
    if get_origin(kind) is Literal:
        return all(isinstance(word, str) for word in get_args(kind))
    try:
        return kind in (bool, Child, tuple[Child, ...]) or kind in _READERS
    except TypeError:  # not hashable
        return False


def without_none(kind: Any) -> Any:
    """T of `T | None`."""
    rest = [arm for arm in get_args(kind) if arm is not NoneType]
    return rest[0] if NoneType in get_args(kind) else kind


def written(kind: Any, value: Any) -> str:
    """What TOML should have for an option of this type; "" if `value` is of a type that it may have
    there. Numbers may stand for texts, and not for paths; all may be strings, as in a spec.
    """
    kind = without_none(kind)
    if isinstance(value, str):
        return ""
    if kind is Child:
        return "" if isinstance(value, Mapping) else "a driver: its spec, or a table"
    if get_origin(kind) is tuple:
        return "" if isinstance(value, Mapping | list) else "a list of drivers"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(value, int | float) and not isinstance(value, bool) and kind is not Path:
        return ""
    return _EXAMPLES.get(kind, "a string")


def _required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(kind: Any, text: str | None, what: str, adopt: Callable[[str], Child]) -> Any:
    kind = without_none(kind)
    if kind is bool:
        return True if text is None else _truth(text, what)
    if not text:
        example = _EXAMPLES.get(kind)
        raise SpecError(f"{what} needs a value" + (f": {example}" if example else ""))
    if kind is Child:
        return adopt(text)
    if get_origin(kind) is tuple:
        return tuple(adopt(one) for one in several(text, what))
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise SpecError(f"{what} cannot be {text!r}{nearest(text, get_args(kind))}")
        return text
    try:
        return _READERS[kind](text)
    except TooLargeError as error:
        raise SpecError(f"{what} cannot be {text!r}: {error}") from None
    except ValueError:
        raise SpecError(f"{what} must be {_EXAMPLES[kind]}, not {text!r}") from None


def _truth(text: str, what: str) -> bool:
    if text.lower() not in _TRUTH:
        raise SpecError(f"{what} must be on or off, not {text!r}")
    return _TRUTH[text.lower()]


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    size = int(match[1]) << _SHIFT[match[2].upper()]
    if size > _LARGEST:
        raise TooLargeError(f"the largest size is {_LARGEST}")
    return size


def seconds(text: str) -> float:
    """Of a time such as 5ms; ValueError if it is none, or longer than anybody waits."""
    time = _seconds(text)
    if time > _LONGEST:
        raise TooLargeError(f"the longest time is {_LONGEST:.0f}s")
    return time


def _shift(text: str) -> float:
    time = _seconds(text.removeprefix("-"))
    if time > _FARTHEST:
        raise TooLargeError(f"the farthest shift is {_FARTHEST:.0f}s, forwards or backwards")
    return -time if text.startswith("-") else time


def _seconds(text: str) -> float:
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _UNITS[match[2]]


_EXAMPLES = {
    int: "a whole number",
    float: "a number",
    Size: "a size such as 64M",
    Seconds: "a time such as 5ms",
    Shift: "a time such as 5ms or -3600s",
}
_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    Path: Path,
    int: lambda text: int(text, 0),
    float: float,
    Size: _size,
    Seconds: seconds,
    Shift: _shift,
}
