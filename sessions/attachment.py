"""A device of a service OS and the sessions that it has there."""

from dataclasses import dataclass

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault
from sessions.dialogue import Phase
from sessions.session import Session

Problems = list[tuple[ServedDevice, PeerFault | None]]


@dataclass(eq=False, slots=True)
class Attachment:
    """A device and its sessions; `failing` is why the core itself serves it.

    `tried` is one with the incarnation that serves, while that opens the device anew: one that it
    does not serve yet, or does with another driver.
    """

    device: ServedDevice
    active: Session | None = None
    standby: Session | None = None
    tried: Session | None = None
    failing: str = ""

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

    def forget(self) -> None:
        """Close everything."""
        self.give_up()
        close(self.active)
        close(self.standby)


def close(session: Session | None) -> None:
    """Close it, if there is one."""
    if session:
        session.close()
