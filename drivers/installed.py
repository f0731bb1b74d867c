"""The entry points of installed packages, read without importlib.metadata.

That module brings an e-mail parser with it and looks into every package: 20 ms and 2 MB that a
service OS, which is started after each death of another, has better uses for. Read here is what its
specification ("Entry points", packaging.python.org) says of the file `entry_points.txt`, in the
folders `*.dist-info` and `*.egg-info` of every directory on `sys.path`. Packages in zip archives
are not found.
"""

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_FOLDERS = (".dist-info", ".egg-info")


def entry_points(group: str) -> dict[str, str]:
    """Names and values (`package.module:attribute`); of two of a name, the first on the path."""
    found: dict[str, str] = {}
    for directory in sys.path:
        try:
            changed = os.stat(directory or ".").st_mtime_ns
        except OSError:
            continue
        for name, value in _in_directory(directory or ".", changed, group):
            found.setdefault(name, value)
    return found


def load(value: str) -> Any:
    """What an entry point's value names; whatever importing it may raise."""
    module, _, attributes = value.partition(":")
    found: Any = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        found = getattr(found, attribute)
    return found


@functools.cache
def _in_directory(directory: str, changed: int, group: str) -> tuple[tuple[str, str], ...]:
    """`changed` (ns) is there so that a directory is read again after an installation."""
    try:
        folders = sorted(name for name in os.listdir(directory) if name.endswith(_FOLDERS))
    except OSError:
        return ()
    return tuple(
        entry
        for folder in folders
        for entry in _in_file(os.path.join(directory, folder, "entry_points.txt"), group)
    )


def _in_file(path: str, group: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError):
        return
    inside = False
    for line in map(str.strip, lines):
        if line.startswith("["):
            inside = line[1:].rstrip("]").strip() == group
        elif inside and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name.strip(), value.partition("[")[0].strip()
