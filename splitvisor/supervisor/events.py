"""What a supervisor tells those who watch it, in the order in which it happens."""

from collections.abc import Callable
from dataclasses import dataclass

from protos import core_pb2 as core
from splitvisor.supervisor.deaths import Outage


@dataclass(frozen=True, slots=True)
class CoreStarted:
    """The core serves."""

    pid: int
    description: core.CoreDescription


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """An incarnation of a service OS serves; nothing is attached to it yet."""

    service: str
    pid: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ServiceDied:
    """An incarnation is dead and reaped; `delay` seconds until the next is started."""

    service: str
    pid: int
    epoch: int
    how: str
    delay: float


@dataclass(frozen=True, slots=True)
class ServiceRecovered:
    """The devices of a service OS are served again; `problems` names those that are not."""

    service: str
    pid: int
    epoch: int
    devices: int
    problems: tuple[str, ...]
    outage: Outage


@dataclass(frozen=True, slots=True)
class ServiceFailed:
    """An incarnation could not start or be attached; another is tried."""

    service: str
    epoch: int
    problem: str


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


SupervisorEvent = (
    CoreStarted
    | ServiceStarted
    | ServiceDied
    | ServiceRecovered
    | ServiceFailed
    | ServiceSaid
    | GuestEvent
    | GuestRestarted
    | GuestNotRestarted
)
Report = Callable[[SupervisorEvent], None]
