"""What happened to a machine, in order, while others wait for it.

Kinds are the words of operator.proto and core.proto in lower case, without what all of them begin
with: `detected`, `stands-by`, `guest-ended`, `device-replayed`. A word that both have is the
supervisor's, and the core's is `core-standby-lost`.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.supervisor.outage import Outage, of_message

T = TypeVar("T")


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", "-")


_OF_SERVICES = {n: _word(name, "SERVICE_") for name, n in operator.ServiceEventKind.items()}
_OF_THE_CORE = {
    n: f"core-{word}" if (word := _word(name, "EVENT_")) in _OF_SERVICES.values() else word
    for name, n in core.EventKind.items()
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; what does not concern it is empty."""

    kind: str
    at: float  # seconds of CLOCK_MONOTONIC
    service: str = ""
    pid: int = 0
    epoch: int = 0
    device: str = ""  # guest/device, or a guest
    text: str = ""
    count: int = 0
    status: int = 0  # of a guest that ended
    outage: Outage | None = None
    pause_ms: float = 0.0  # while a driver was swapped

    def __str__(self) -> str:
        epoch = f"epoch {self.epoch}" if self.epoch else ""
        pid = f"pid {self.pid}" if self.pid else ""
        count = str(self.count) if self.count else ""
        parts = (self.kind, self.device, self.service, epoch, pid, count, self.text)
        return " ".join(part for part in parts if part)


def kinds() -> list[str]:
    """All words for kinds of events."""
    return [*_OF_SERVICES.values(), *_OF_THE_CORE.values()]


def translate(message: operator.MachineEvent) -> Event:
    """The event in a message."""
    at = 1e-9
    if message.HasField("service"):
        said = message.service
        return Event(
            *(_OF_SERVICES[said.kind], said.monotonic_ns * at, said.service, said.pid),
            *(said.epoch, said.device, said.text, said.count),
            outage=of_message(said.outage) if said.HasField("outage") else None,
            pause_ms=said.swap.pause_ms,
        )
    told = message.core
    device = "/".join(part for part in (told.guest, told.device) if part)
    return Event(
        *(_OF_THE_CORE[told.kind], told.monotonic_ns * at, told.service, 0, told.epoch, device),
        *(told.text, told.count, told.exit_status),
    )


class Story:
    """Events and lines as they come, from any thread; `end` when no more will."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []  # of the machine's standard error
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    def add(self, event: Event) -> None:
        """One more event."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def say(self, line: str) -> None:
        """One more line."""
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def text(self) -> str:
        """All events, a line each, with the seconds since the first."""
        events = list(self.events)
        return "".join(f"{event.at - events[0].at:9.4f} s  {event}\n" for event in events)

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """What `look` returns once it is not None; None when the time is over.

        It looks again whenever something happens, and now and then besides.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while (found := look()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 0.05))
            return found

    def take(self, kind: str) -> Event | None:
        """The next event of this kind that was not taken yet."""
        found = [event for event in self.events if event.kind == kind]
        if self._taken[kind] == len(found):
            return None
        self._taken[kind] += 1
        return found[self._taken[kind] - 1]
