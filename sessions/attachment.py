"""A device of a service OS and the sessions that it has there."""

import time
from dataclasses import dataclass

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault, Refusal
from sessions.dialogue import Phase
from sessions.session import Session

Problems = list[tuple[ServedDevice, PeerFault | None]]


@dataclass(eq=False, slots=True)
class Attachment:
    """A device and its sessions; `failing` is why the core itself serves it.

    `tried` is one with the incarnation that serves, while that opens the device anew: one that it
    does not serve yet, or does with another driver. `gone`: the device is no more, so no session
    with it begins any more.
    """

    device: ServedDevice
    active: Session | None = None
    standby: Session | None = None
    tried: Session | None = None
    failing: str = ""
    gone: bool = False

    @property
    def name(self) -> str:
        """As an operator says it."""
        return f"{self.device.guest}/{self.device.config.name}"

    @property
    def serving(self) -> Session | None:
        """The session with the incarnation that serves it now."""
        active = self.active
        attached = active and active.phase is Phase.ATTACHED and not self.failing
        return active if attached else None

    def unserved(self) -> bool:
        """Whether no incarnation serves it."""
        return self.serving is None

    @property
    def standing_by(self) -> bool:
        """Whether another incarnation has it open."""
        return self.standby is not None and self.standby.phase is Phase.OPENED

    def give_up(self) -> None:
        """End what is tried."""
        close(self.tried)
        self.tried = None

    def leave(self, epoch: int, wanted: bool) -> None:
        """Close what is over with incarnation `epoch`, which is to serve it if `wanted`."""
        self.give_up()
        if wanted or not self.failing:
            if self.active:
                self.active.leave()
            self.active, self.failing = None, ""
        standby = self.standby
        if standby and (standby.epoch < epoch or (standby.epoch == epoch and not wanted)):
            standby.close()
            self.standby = None

    def forget(self) -> list[Session]:
        """The device is gone; the sessions that are to be closed for that."""
        active = self.active
        behind = active and active.behind  # it may still say something
        mine = [self.tried, active, behind, self.standby]
        self.gone, self.tried = True, None
        return [session for session in mine if session]


def drain(serving: list[Attachment], patience_ms: int, deadline: float) -> None:
    """Wait until all that these have in flight is answered, with nothing new; PeerFault if late."""
    for a in serving:
        a.device.hold(True)
    for a in serving:
        timeout_s = deadline - time.monotonic()
        if not a.device.wait_answered(a.unserved, timeout_s):
            for held in serving:
                held.device.hold(False)
            text = f"device {a.name} still has requests in flight after {patience_ms} ms"
            raise PeerFault(text, Refusal.TOO_LATE)


def close(session: Session | None) -> None:
    """Close it, if there is one."""
    if session:
        session.close()
