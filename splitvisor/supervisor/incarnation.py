"""What the recovery machine knows of one incarnation of a service OS."""

from collections.abc import Set
from dataclasses import dataclass, field
from enum import StrEnum


class Standby(StrEnum):
    """How far an incarnation is on its way to taking over."""

    STARTING = "starting"
    PREPARING = "preparing"  # the core has its devices opened there
    READY = "ready"


@dataclass(slots=True)
class Incarnation:
    """One process; times are nanoseconds."""

    epoch: int
    pid: int = 0
    phase: Standby = Standby.STARTING
    since: int = 0  # it stands by, and later: it serves with all replayed
    begun: bool = False  # the core was told to begin with it
    calling: bool = False  # the core has not answered yet
    finished: bool = False  # its replay
    released: bool = False  # by an upgrade: its death is no death
    ordered: int | None = None  # when an operator had it die
    lost: int | None = None  # when it was known to be dead or as good as
    reaped: bool = False
    why: str = ""
    delay: int = 0  # after its death
    devices: int = 0
    last_attach: int = 0
    last_replay: int = 0
    attached: set[str] = field(default_factory=set)
    replayed: set[str] = field(default_factory=set)
    missed: bool = False  # some of the core's events
    absent: set[str] = field(default_factory=set)  # guests that have gone since it is there

    def all_replayed(self, besides: Set[str] = frozenset()) -> bool:
        """Whether each device that it serves has nothing of an earlier incarnation in flight, or
        may wait with that for the world outside.

        `besides` are devices that do not count among those yet.
        """
        return len(self.replayed - besides) >= self.devices

    def gone(self, guest: str) -> None:
        """Nothing more is to be expected of a guest's devices."""
        self.absent.add(guest)
        self.replayed |= {name for name in self.attached if name.startswith(f"{guest}/")}
