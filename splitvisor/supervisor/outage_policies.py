"""What becomes of devices while nobody serves them for too long, as the machine file says.

`hold` does nothing: the guest waits as for a slow disk. `pause` stops the guest's vCPUs until all
its devices are served again. `error` has the core fail the device's requests until an incarnation
serves it. Each device has an outage of its own, though most begin and end together. Pure: the
caller brings the clock, in nanoseconds, and tells since when a device is not served (0: it is).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from splitvisor.machine import Guest, OutagePolicy, WhenOut


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do now; `device` is guest/device."""

    action: WhenOut
    guest: str
    device: str
    after_ns: int


OutSince = Callable[[str], int]


class OutagePolicies:
    """Of the devices of one service OS."""

    def __init__(self, service: str, guests: Iterable[Guest]) -> None:
        self._policies: dict[str, tuple[str, OutagePolicy]] = {
            f"{guest.name}/{device.name}": (guest.name, device.outage)
            for guest in guests
            for device in guest.devices
            if device.service == service and device.outage.action is not WhenOut.HOLD
        }
        self._done: set[str] = set()

    def due(self, since: OutSince, now: int) -> list[Act]:
        """What is to be done; each once in an outage."""
        acts = []
        for device, at in self._waiting(since):
            if now >= at:
                self._done.add(device)
                guest, policy = self._policies[device]
                acts.append(Act(policy.action, guest, device, policy.after_ns))
        return acts

    def next_due(self, since: OutSince) -> int | None:
        """When the next thing is to be done; None if nothing is left to do."""
        return min((at for _, at in self._waiting(since)), default=None)

    def given(self) -> None:
        """The core was told of an incarnation: what failed does not any more."""
        self._done = {d for d in self._done if self._policies[d][1].action is WhenOut.PAUSE}

    def over(self, since: OutSince) -> list[str]:
        """Forget outages that have ended; the guests that were paused for these alone."""
        ended = {device for device in self._done if not since(device)}
        before, self._done = self._paused(), self._done - ended
        return sorted(before - self._paused())

    def _waiting(self, since: OutSince) -> list[tuple[str, int]]:
        """Devices for which nothing was done yet, and when it is to be."""
        undone = ((d, policy) for d, (_, policy) in self._policies.items() if d not in self._done)
        return [(d, began + policy.after_ns) for d, policy in undone if (began := since(d))]

    def _paused(self) -> set[str]:
        policies = (self._policies[device] for device in self._done)
        return {guest for guest, policy in policies if policy.action is WhenOut.PAUSE}
