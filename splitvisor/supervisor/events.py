"""What a supervisor tells those who watch it, in the order in which it happens.

Those that concern a service OS are also messages for operators: see `messages.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from protos import core_pb2 as core
from splitvisor.supervisor.outage import Outage


@dataclass(frozen=True, slots=True)
class CoreStarted:
    """The core serves."""

    pid: int
    description: core.CoreDescription


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """An incarnation of a service OS is ready; it serves nothing yet. `standby`: it is to wait."""

    service: str
    pid: int
    epoch: int
    standby: bool = False


@dataclass(frozen=True, slots=True)
class ServiceStandsBy:
    """An incarnation waits to take over; `problems` names devices that it could not open."""

    service: str
    pid: int
    epoch: int
    devices: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceStandbyLost:
    """One that was to stand by is dead or as good as; another is started."""

    service: str
    pid: int
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class ServiceSuspected:
    """An incarnation lives and does not do its work; it is killed. An outage begins."""

    service: str
    pid: int
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class ServiceDetected:
    """An outage begins: the incarnation that serves is dead (`why` is "died"), or as good as."""

    service: str
    pid: int
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class ServiceDied:
    """An incarnation is dead and reaped; `delay` seconds until the next one may serve."""

    service: str
    pid: int
    epoch: int
    how: str
    delay: float


@dataclass(frozen=True, slots=True)
class ServicePromoted:
    """The core is told that an incarnation serves from now on; `warm`: it stood by."""

    service: str
    pid: int
    epoch: int
    warm: bool
    one_by_one: bool = False  # its devices one after the other, to find one that kills it


@dataclass(frozen=True, slots=True)
class ServiceAttached:
    """The devices of a service OS are served again; `problems` names those that are not."""

    service: str
    pid: int
    epoch: int
    devices: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServiceRecovered:
    """All that was in flight is done: the outage is over; `problems` as of ServiceAttached."""

    service: str
    pid: int
    epoch: int
    devices: int
    problems: tuple[str, ...]
    outage: Outage


@dataclass(frozen=True, slots=True)
class ServiceFailed:
    """An incarnation that was to serve could not start or be attached; another is tried."""

    service: str
    epoch: int
    problem: str


@dataclass(frozen=True, slots=True)
class DeviceUnserved:
    """A device cannot be attached where the others are served; it is tried again and again."""

    service: str
    device: str  # guest/device
    why: str


@dataclass(frozen=True, slots=True)
class DeviceServed:
    """One of these is served again, `after_ns` since it was served last."""

    service: str
    device: str
    after_ns: int

    @property
    def after(self) -> str:
        """For people."""
        return f"{self.after_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True)
class DeviceQuarantined:
    """A device killed its service OS too often: its requests fail until it is released."""

    service: str
    device: str  # guest/device
    why: str


@dataclass(frozen=True, slots=True)
class DeviceReleased:
    """A device that was in quarantine is given back to its service OS."""

    service: str
    device: str


@dataclass(frozen=True, slots=True)
class UpgradeBegun:
    """An incarnation is started that is to replace the one that serves."""

    service: str


@dataclass(frozen=True, slots=True)
class UpgradeFailed:
    """It did not come to that; the old one serves on, or an ordinary recovery follows."""

    service: str
    why: str


@dataclass(frozen=True, slots=True)
class DriverSwapped:
    """A device is served by another driver; `pause_ns` is for how long nobody served it."""

    service: str
    pid: int
    epoch: int
    device: str  # guest/device
    old: str
    new: str
    pause_ns: int

    @property
    def what(self) -> str:
        """For people."""
        return f"{self.old} → {self.new} in {self.pause_ns / 1e6:.1f} ms"


@dataclass(frozen=True, slots=True)
class DriverSwapFailed:
    """It did not come to that: the device is served as before, unless `why` says otherwise."""

    service: str
    device: str
    why: str


@dataclass(frozen=True, slots=True)
class DiskMigrating:
    """A disk is being copied to another driver, which is to serve it then."""

    service: str
    device: str  # guest/device
    old: str
    new: str

    @property
    def what(self) -> str:
        """For people."""
        return f"{self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class DiskMigrated:
    """It is copied and served by the other, `after_ns` since it began."""

    service: str
    device: str
    old: str
    new: str
    after_ns: int

    @property
    def what(self) -> str:
        """For people."""
        return f"{self.old} → {self.new} after {self.after_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True)
class DiskMigrationFailed:
    """It is not: the device is served as before, unless `why` says otherwise."""

    service: str
    device: str
    why: str


@dataclass(frozen=True, slots=True)
class OutagePolicyActed:
    """An outage is too long for a device: `what` is done to it or to its guest."""

    service: str
    device: str
    what: str


@dataclass(frozen=True, slots=True)
class FaultInjected:
    """An operator had an incarnation misbehave; `what` in one line."""

    service: str
    pid: int
    epoch: int
    what: str


@dataclass(frozen=True, slots=True)
class ServiceAwaited:
    """The machine ends, and an incarnation takes its time; `left_ns` until it is killed."""

    service: str
    pid: int
    epoch: int
    left_ns: int

    @property
    def left(self) -> str:
        """For people."""
        return f"{self.left_ns / 1e9:.0f} s"


@dataclass(frozen=True, slots=True)
class DeviceAwaited:
    """A guest ends, and what it left at a device is not answered; `left_ns` until it is lost."""

    service: str
    pid: int
    epoch: int
    device: str  # guest/device
    left_ns: int

    @property
    def left(self) -> str:
        """For people."""
        return f"{self.left_ns / 1e9:.0f} s"


@dataclass(frozen=True, slots=True)
class DeviceOpening:
    """A guest starts, and a driver takes its time to open or, with `begun`, to begin."""

    service: str
    pid: int
    epoch: int
    device: str  # guest/device
    driver: str
    begun: bool
    for_ns: int

    @property
    def what(self) -> str:
        """For people."""
        doing = "has been beginning" if self.begun else "has been opening"
        return f"{self.driver} {doing} for {self.for_ns / 1e9:.1f} s"


@dataclass(frozen=True, slots=True)
class ServiceSaid:
    """A line that an incarnation left on its standard error; told when it is dead."""

    service: str
    line: str


@dataclass(frozen=True, slots=True)
class GuestEvent:
    """Something the core reports."""

    event: core.Event


@dataclass(frozen=True, slots=True)
class GuestRestarted:
    """A guest asked for a reset and runs anew."""

    guest: str


@dataclass(frozen=True, slots=True)
class GuestNotRestarted:
    """A guest asked for a reset, and the core does not take it again; `why` in one line."""

    guest: str
    why: str


ServiceEvent = (
    ServiceStarted
    | ServiceStandsBy
    | ServiceStandbyLost
    | ServiceSuspected
    | ServiceDetected
    | ServiceDied
    | ServicePromoted
    | ServiceAttached
    | ServiceRecovered
    | ServiceFailed
    | DeviceUnserved
    | DeviceServed
    | DeviceQuarantined
    | DeviceReleased
    | UpgradeBegun
    | UpgradeFailed
    | DriverSwapped
    | DriverSwapFailed
    | DiskMigrating
    | DiskMigrated
    | DiskMigrationFailed
    | OutagePolicyActed
    | FaultInjected
    | ServiceAwaited
    | DeviceAwaited
    | DeviceOpening
    | ServiceSaid
)
SupervisorEvent = CoreStarted | ServiceEvent | GuestEvent | GuestRestarted | GuestNotRestarted
Report = Callable[[SupervisorEvent], None]
