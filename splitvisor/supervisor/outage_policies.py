"""What becomes of devices while nobody serves them for too long, as the machine file says.

`hold` does nothing: the guest waits as for a slow disk. `pause` stops the guest's vCPUs until all
its devices are served again. `error` has the core fail the device's requests until it is given to
an incarnation. Pure: the caller brings the clock, in nanoseconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from splitvisor.machine import Guest, OutagePolicy, WhenOut


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do now; `device` is guest/device."""

    action: WhenOut
    guest: str
    device: str
    after_ns: int


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

    def due(self, since: int, now: int) -> list[Act]:
        """What is to be done of an outage that began at `since`; each once."""
        acts = []
        for device, (guest, policy) in self._policies.items():
            if device not in self._done and now >= since + policy.after_ns:
                self._done.add(device)
                acts.append(Act(policy.action, guest, device, policy.after_ns))
        return acts

    def next_due(self, since: int) -> int | None:
        """When the next thing is to be done; None if nothing is left to do."""
        waiting = (p.after_ns for d, (_, p) in self._policies.items() if d not in self._done)
        after = min(waiting, default=None)
        return None if after is None else since + after

    def given(self) -> None:
        """The core was told of an incarnation: what failed does not any more."""
        self._done = {d for d in self._done if self._policies[d][1].action is WhenOut.PAUSE}

    def over(self) -> list[str]:
        """The outage has ended; the guests that were paused for it."""
        paused = {
            self._policies[device][0]
            for device in self._done
            if self._policies[device][1].action is WhenOut.PAUSE
        }
        self._done.clear()
        return sorted(paused)
