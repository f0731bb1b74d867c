"""The devices that the incarnation that serves could not attach: since when, why, when tried next.

That is nobody's death: an image is away for a moment, and the other devices are served. So such a
device is tried again on the same incarnation, each after waits of its own, and it stays in this
book from one incarnation to the next until one serves it. Pure; times are nanoseconds.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from splitvisor.supervisor.backoff import Backoff
from splitvisor.supervisor.events import DeviceServed, DeviceUnserved

Absence = tuple[str, int]  # of which device, for how long
Told = list[DeviceServed | DeviceUnserved]


@dataclass(slots=True)
class Entry:
    """One device."""

    since: int
    reason: str = ""
    due: int = 0
    tried: bool = False  # right now
    backoff: Backoff = field(default_factory=lambda: Backoff(free=0))

    def failed(self, reason: str, now: int) -> None:
        """It could not be attached."""
        self.reason, self.tried, self.due = reason, False, now + self.backoff.failed()


class Unserved:
    """Of one service OS; devices are `guest/device`, problems begin with that and `: `."""

    def __init__(self, service: str) -> None:
        self.devices: dict[str, Entry] = {}
        self._service = service
        self._longest: Absence = ("", 0)  # of those that ended

    @property
    def deadline(self) -> int | None:
        """When one is to be tried; None while some are: an answer is owed for all of these."""
        entries = self.devices.values()
        if any(entry.tried for entry in entries):
            return None
        return min((entry.due for entry in entries), default=None)

    def longest(self, now: int) -> Absence:
        """Of all there were and are; of no device if there was none."""
        lasting = ((name, now - entry.since) for name, entry in self.devices.items())
        return max((self._longest, *lasting), key=lambda absence: absence[1])

    def problems(self) -> tuple[str, ...]:
        """A line for each."""
        return tuple(f"{name}: {entry.reason}" for name, entry in self.devices.items())

    def attached(self, problems: Iterable[str], since: int, now: int) -> Told:
        """An incarnation took over all but those with problems; others were served `since`."""
        self._longest = self.longest(now)
        before, self.devices = self.devices, {}
        told: Told = []
        for problem in problems:
            name, _, reason = problem.partition(": ")
            old = before.pop(name, None)
            entry = self.devices[name] = Entry(old.since if old else since)
            entry.failed(reason, now)
            if old is None:
                told.append(DeviceUnserved(self._service, name, reason))
        return told + [self._served(name, entry, now) for name, entry in before.items()]

    def due(self, now: int) -> tuple[str, ...]:
        """Those that are to be tried now, and are from now on."""
        if self.deadline is None or self.deadline > now:
            return ()
        due = [name for name, entry in self.devices.items() if entry.due <= now]
        for name in due:
            self.devices[name].tried = True
        return tuple(due)

    def answered(self, served: Container[str], problems: Iterable[str], now: int) -> Told:
        """What became of those that were tried; who is in neither list is no more."""
        reasons = dict(problem.split(": ", 1) for problem in problems)
        told: Told = []
        for name, entry in list(self.devices.items()):
            if not entry.tried:
                continue
            if name in reasons:
                entry.failed(reasons[name], now)
                continue
            self._remove(name, now)
            if name in served:
                told.append(self._served(name, entry, now))
        return told

    def drop(self, device: str, now: int) -> None:
        """A device is somebody else's affair."""
        if device in self.devices:
            self._remove(device, now)

    def gone(self, guest: str, now: int) -> None:
        """A guest is no more, nor are its devices."""
        for name in [name for name in self.devices if name.startswith(f"{guest}/")]:
            self._remove(name, now)

    def worse(self, problems: Iterable[str], besides: Container[str]) -> str:
        """The first of another one's problems with what is neither here nor in `besides`."""
        for problem in problems:
            name = problem.partition(": ")[0]
            if name not in self.devices and name not in besides:
                return problem
        return ""

    def _remove(self, name: str, now: int) -> None:
        self._longest = self.longest(now)
        del self.devices[name]

    def _served(self, name: str, entry: Entry, now: int) -> DeviceServed:
        return DeviceServed(self._service, name, now - entry.since)
