"""What the core finds by entry point: CPU back ends and scheduling policies.

The core names some of them and imports none: what a plug-in needs of the core stands in
cpu/protocol.py and sched/policy.py.
"""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from microhypervisor.errors import EnvironmentFault


@cache
def installed(group: str) -> list[str]:
    """The names in a group; what is installed later is not looked for."""
    return sorted({entry.name for entry in entry_points(group=group)})


@cache
def load(group: str, name: str) -> Any:
    """What stands behind a name; EnvironmentFault if it is not installed or does not load."""
    for entry in entry_points(group=group, name=name):
        try:
            return entry.load()
        except ImportError as error:
            raise EnvironmentFault(f"{group} {name} cannot be loaded: {error}") from None
    known = ", ".join(installed(group)) or "none: run 'make setup' again"
    raise EnvironmentFault(f"no {name!r} is installed among {group} ({known})")
