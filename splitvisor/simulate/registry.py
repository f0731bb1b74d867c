"""Policies by name, among the entry points of the group `splitvisor.policies`."""

from importlib.metadata import entry_points
from typing import Any

from drivers.options import nearest
from splitvisor.errors import UserError

GROUP = "splitvisor.policies"


def names() -> list[str]:
    """The policies that are installed, sorted."""
    return sorted(entry_points(group=GROUP).names)


def find(name: str) -> type[Any]:
    """The policy's class; UserError with the nearest match if there is none."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise UserError(f"no scheduling policy {name!r}{nearest(name, found)}")
    try:
        loaded: type[Any] = found[name].load()
    except Exception as error:
        raise UserError(
            f"scheduling policy {name!r} ({found[name].value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from None
    return loaded
