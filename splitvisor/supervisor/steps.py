"""What the recovery machine hears and what it asks for: the words between it and the keeper.

An incarnation is named by its epoch, a device by `guest/device`. Moments are nanoseconds of
CLOCK_MONOTONIC.
"""

from dataclasses import dataclass

from protos import core_pb2 as core
from splitvisor.supervisor.events import ServiceEvent
from splitvisor.supervisor.outage import Outage

# What happens.


@dataclass(frozen=True, slots=True)
class Begin:
    """The machine is to run; once, first."""


@dataclass(frozen=True, slots=True)
class Started:
    """An incarnation listens."""

    epoch: int
    pid: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The core has opened its devices there."""

    epoch: int
    devices: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Connected:
    """The core's answer to Connect; one of these or ConnectFailed follows each Connect."""

    epoch: int
    devices: int = 0
    problems: tuple[str, ...] = ()
    guilty: str = ""  # a device in whose replay the incarnation was lost


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The core did not take it, or did not answer."""

    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Released:
    """It has finished and closed everything; this or ReleaseFailed follows each Release."""

    epoch: int


@dataclass(frozen=True, slots=True)
class ReleaseFailed:
    """It serves on, unless it is dead."""

    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The answer to a Retry; one follows each. Who is in neither list is no more."""

    epoch: int
    served: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """An incarnation is dead (`why` may be empty), or as good as dead. May come more than once."""

    epoch: int
    why: str = ""
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Reaped:
    """Nothing is left of its process group; once after each Fence. `killed`: by a signal."""

    epoch: int
    pid: int
    how: str
    killed: bool = True


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator has it die: nobody in it is to blame."""

    epoch: int


@dataclass(frozen=True, slots=True)
class DeviceAttached:
    """A device is served by it."""

    epoch: int
    device: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class DeviceReplayed:
    """All that was in flight of a device is done again."""

    epoch: int
    device: str
    count: int
    at: int


@dataclass(frozen=True, slots=True)
class DeviceResumed:
    """The first completion of a device."""

    epoch: int
    at: int


@dataclass(frozen=True, slots=True)
class GuestGone:
    """A guest is no more, nor are its devices."""

    guest: str


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """Some of the last three may have been missed."""


@dataclass(frozen=True, slots=True)
class UpgradeAsked:
    """All devices are to move to a fresh incarnation; answered by UpgradeEnded of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class DeviceReleaseAsked:
    """A device is to come out of quarantine."""

    device: str


@dataclass(frozen=True, slots=True)
class Tick:
    """It is the machine's `deadline`, or later."""


DeviceEvent = DeviceAttached | DeviceReplayed | DeviceResumed | GuestGone | EventsMissed
Event = (
    Begin
    | Started
    | Prepared
    | Connected
    | ConnectFailed
    | Released
    | ReleaseFailed
    | Retried
    | Lost
    | Reaped
    | Ordered
    | DeviceEvent
    | UpgradeAsked
    | DeviceReleaseAsked
    | Tick
)

# What is to be done. None of it is waited for.


@dataclass(frozen=True, slots=True)
class Launch:
    """Start an incarnation: Started or Lost follows."""

    epoch: int
    standby: bool


@dataclass(frozen=True, slots=True)
class Fence:
    """SIGKILL its process group and reap all of it: Reaped follows."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the core open its devices there: Prepared or Lost follows."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Have it serve: Connected or ConnectFailed follows."""

    epoch: int
    one_by_one: bool
    withheld: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Have the core take its devices back in order: Released or ReleaseFailed follows."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Have it open devices anew that it does not serve, and begin with them: Retried follows."""

    epoch: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """Have the core itself fail a device's requests."""

    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Report an event."""

    event: ServiceEvent


@dataclass(frozen=True, slots=True)
class UpgradeEnded:
    """An upgrade that was asked for is done, or has failed for `problem`."""

    number: int
    problem: str
    outage: Outage | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It cannot even be started the first time; `why` in one line. Nothing follows."""

    why: str


Action = Launch | Fence | Prepare | Connect | Release | Retry | Fail | Tell | UpgradeEnded | GiveUp


def of_core(event: core.Event) -> Event | None:
    """What an event of the core is to the machine."""
    device, epoch, at = f"{event.guest}/{event.device}", event.epoch, event.monotonic_ns
    match event.kind:
        case core.EVENT_GUEST_DESTROYED:
            return GuestGone(event.guest)
        case core.EVENT_DEVICE_ATTACHED:
            return DeviceAttached(epoch, device, at)
        case core.EVENT_DEVICE_REPLAYED:
            return DeviceReplayed(epoch, device, event.count, at)
        case core.EVENT_DEVICE_RESUMED:
            return DeviceResumed(epoch, at)
    return None
