"""Relative paths in a spec start somewhere: here they are made to start at a folder."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

from drivers.interface import Child
from drivers.registry import find
from drivers.spec import parse, several


def rooted(kind: str, spec_text: str, root: Path) -> str:
    """The spec with each path in it, also of drivers below, below `root` unless it is absolute.

    SpecError or DriverError for a spec or driver that is not right.
    """
    spec = parse(spec_text)
    types = get_type_hints(find(kind, spec.driver).Options)
    for name, text in spec.options.items():
        if text:
            spec.options[name] = _rooted(kind, types.get(name), name, text, root)
    return str(spec)


def _rooted(kind: str, wanted: Any, name: str, text: str, root: Path) -> str:
    understood = (wanted, *get_args(wanted))  # of `Path | None`, or a tuple of children
    if Path in understood:
        return str(root / text)
    if Child not in understood:
        return text
    below = [rooted(kind, one, root) for one in several(text, f"option {name!r}")]
    return ",".join(f"({one})" for one in below) if text.startswith("(") else below[0]
