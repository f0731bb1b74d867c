"""What the events of a machine say about the faults that were injected.

Each fault is aimed at one incarnation, so each death has to be that of an incarnation that was
aimed at. A failover that nobody asked for is a false one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from splitvisor.supervisor.outage import Outage
from splitvisor.testing.events import Event

Incarnation = tuple[str, int]  # service OS and epoch
_UNNAMED = "(nothing)"


@dataclass(slots=True)
class Testimony:
    """Outages in order, each with the kind of fault; `begun` are those without an end yet."""

    __test__ = False

    outages: list[tuple[str, Outage]] = field(default_factory=list)
    standbys_lost: int = 0
    swaps: list[float] = field(default_factory=list)  # of drivers; each pause in milliseconds
    begun: dict[str, Event] = field(default_factory=dict)
    false: list[str] = field(default_factory=list)  # failovers, one line each
    quarantined: list[str] = field(default_factory=list)

    @property
    def recoveries(self) -> int:
        """Outages that ended."""
        return sum(not outage.planned for _, outage in self.outages)

    def endless(self, before: float = inf) -> list[str]:
        """A line for each outage without an end that began `before` that moment."""
        return [f"an outage without an end: {e}" for e in self.begun.values() if e.at < before]


def hear(events: Iterable[Event], aimed: Mapping[Incarnation, str]) -> Testimony:
    """Go through all events; `aimed` has the kind of fault for each incarnation that got one."""
    said = Testimony()
    kinds: dict[str, str] = {}  # of the outage of a service OS
    for event in events:
        incarnation = (event.service, event.epoch)
        match event.kind:
            case "detected" | "suspected":
                if event.service not in said.begun:
                    kinds[event.service] = aimed.get(incarnation, _UNNAMED)
                said.begun[event.service] = event
                if incarnation not in aimed:
                    said.false.append(f"false failover: {event}")
            case "start-failed" if incarnation not in aimed:
                said.false.append(f"a recovery failed for nothing: {event}")
            case "standby-lost":
                said.standbys_lost += 1
                if incarnation not in aimed:
                    said.false.append(f"a standby was lost for nothing: {event}")
            case "driver-swapped":
                said.swaps.append(event.pause_ms)
            case "quarantined":
                said.quarantined.append(f"quarantined: {event}")
            case "recovered":
                said.begun.pop(event.service, None)
                if event.outage is not None:
                    kind = "upgrade" if event.outage.planned else kinds.get(event.service, _UNNAMED)
                    said.outages.append((kind, event.outage))
    return said
