"""Typed options: a driver's dataclass filled from the texts of a spec.

Understood are `str`, `pathlib.Path`, `int` (decimal or 0x...), `Size` (bytes, with K, M, G for
powers of 1024), and `bool` (a name alone is true; on/off, yes/no, true/false otherwise). A field
with a default may be left out. `__post_init__` may refuse a value with ValueError.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NewType, get_type_hints

from drivers.interface import Keep, SpecError

Size = NewType("Size", int)

_SIZE = re.compile(r"(\d+)([KMGkmg]?)(?:i?[Bb])?")
_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30}
_TRUTH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause of an error message that says what `word` could have been."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, 1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"


def fill(wanted: type[Any], texts: Mapping[str, str | None], who: str, keep: Keep) -> Any:
    """An instance of the dataclass `wanted`; SpecError names `who` and the option at fault."""
    types = get_type_hints(wanted)
    fields = {f.name: f for f in dataclasses.fields(wanted)}
    given = [name for name in fields if types[name] is not Keep]
    for name in texts:
        if name not in given:
            raise SpecError(f"{who} has no option {name!r}{nearest(name, given)}")
    values: dict[str, Any] = {name: keep for name in fields if name not in given}
    for name in given:
        if name in texts:
            values[name] = _value(types[name], texts[name], f"{who}: option {name!r}")
        elif _required(fields[name]):
            raise SpecError(f"{who} needs the option {name!r}: add {name}=...")
    try:
        return wanted(**values)
    except ValueError as error:
        raise SpecError(f"{who}: {error}") from None


def _required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(kind: Any, text: str | None, what: str) -> Any:
    if kind is bool:
        return True if text is None else _truth(text, what)
    if not text:
        raise SpecError(f"{what} needs a value")
    try:
        return _READERS[kind](text)
    except ValueError:
        examples = {int: "a whole number", Size: "a size such as 64M"}
        raise SpecError(f"{what} must be {examples[kind]}, not {text!r}") from None


def _truth(text: str, what: str) -> bool:
    if text.lower() not in _TRUTH:
        raise SpecError(f"{what} must be on or off, not {text!r}")
    return _TRUTH[text.lower()]


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) << _SHIFT[match[2].upper()]


_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    Path: Path,
    int: lambda text: int(text, 0),
    Size: _size,
}
