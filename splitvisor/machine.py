"""What a machine is: guests, their devices, and the service OSes that serve them.

The command line and machine files both end here, so the rules that hold for every machine are
checked here, once. Names become parts of socket paths, file names and host-visible labels,
which is why they are short and plain.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import get_type_hints

from drivers.interface import DriverError
from drivers.registry import find
from drivers.spec import parse
from policies.parameters import InvalidError, VcpuParameters, check
from splitvisor.errors import UserError
from splitvisor.simulate import registry
from splitvisor.units import format_duration, format_size

PAGE = 4096
NAME_LIMIT = 32  # a Unix socket path has 107 bytes for the run directory and two names
DEFAULT_SERVICE = "service"
DEFAULT_MEMORY = 64 << 20
MIN_MEMORY = 2 << 20  # the first MiB holds start-up data; images start at the second
MAX_MEMORY = 1 << 40  # far above any host that runs this, far below the processors' 46 bits
MIN_SLICE = 500_000  # nanoseconds; a switch costs about half of it
MAX_SLICE = 10_000_000_000  # nanoseconds, and the longest period: who waits longer was forgotten
MAX_OUTAGE = 86_400_000_000_000  # nanoseconds: a day
MAX_PCPUS = 1024  # more than any host has, and a typing error
BALLOON = "balloon0"  # the name of the balloon of a guest that has one
CLOCK = "rtc0"  # and of its real-time clock
VIRTIO_CLOCK = "clock0"  # and of its clock behind virtio
MAX_VCPUS = 64  # of the core; CPUs may take less

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.ASCII)


class CpuChoice(StrEnum):
    """The CPU back end; `auto` takes KVM where it works."""

    AUTO = "auto"
    KVM = "kvm"
    EMULATED = "emulated"


class Model(StrEnum):
    """The device model that a service OS puts in front of a driver."""

    BLOCK = "block"
    CONSOLE = "console"
    ENTROPY = "entropy"
    UART = "uart"
    RTC = "rtc"
    CLOCK = "clock"
    VIRTIO = "virtio"
    NET = "net"
    FOLDER = "folder"

    @property
    def driver_kind(self) -> str:
        """The kind of driver behind the model: a UART is fed by console drivers."""
        return {Model.UART: "console", Model.RTC: "clock"}.get(self, self.value)


class Irqchip(StrEnum):
    """Who holds a guest's interrupt controllers."""

    CORE = "core"
    KERNEL = "kernel"


class OnReset(StrEnum):
    """What becomes of a guest that asks for a reset."""

    RESTART = "restart"
    STOP = "stop"


class WhenOut(StrEnum):
    """What a device does while nobody serves it for too long."""

    HOLD = "hold"  # its guest waits, as for a slow device
    PAUSE = "pause"  # its guest does not run
    ERROR = "error"  # its requests fail


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """What becomes of a device without a service OS, after so many nanoseconds."""

    action: WhenOut = WhenOut.HOLD
    after_ns: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.after_ns <= MAX_OUTAGE:
            limits = f"0 to {format_duration(MAX_OUTAGE)}"
            raise UserError(f"outage after {format_duration(self.after_ns)}: give {limits}")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How a service OS is kept alive; `failpoints` let faults be injected inside of it."""

    standby: bool = True  # another incarnation waits, ready to take over
    watchdog: bool = True  # one that lives and gets nothing done is replaced
    failpoints: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `spec` is driver and options, as in `file:path=disk.img,readonly`."""

    name: str
    model: Model
    spec: str
    service: str = DEFAULT_SERVICE
    inline_payload: bool = False
    outage: OutagePolicy = field(default_factory=OutagePolicy)

    def __post_init__(self) -> None:
        check_name("device", self.name)
        check_name("service OS", self.service)

    def on_terminal(self) -> bool:
        """Whether its output goes to standard output."""
        return self.model.driver_kind == "console" and parse(self.spec).driver == "terminal"


@dataclass(frozen=True, slots=True)
class Scheduling:
    """How vCPUs share pCPUs: `pcpus` are numbers of CPUs of the host, one for each pCPU."""

    policy: str = "credit"
    slice_ns: int = 10_000_000
    pcpus: tuple[int, ...] = field(default_factory=lambda: tuple(sorted(os.sched_getaffinity(0))))

    def __post_init__(self) -> None:
        registry.find(self.policy)
        check_slice(self.slice_ns)
        present = os.sched_getaffinity(0)
        if not self.pcpus or not present.issuperset(self.pcpus):
            there = ", ".join(map(str, sorted(present)))
            raise UserError(f"pcpus {list(self.pcpus)}: name CPUs of the host, there are {there}")


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest; `memory` is bytes of RAM, `rom` a file mapped read-only.

    With a `balloon` it has one more device, which the core itself serves.
    """

    name: str
    image: Path
    arguments: str = ""
    memory: int = DEFAULT_MEMORY
    vcpus: int = 1
    cpu: CpuChoice = CpuChoice.AUTO
    devices: tuple[Device, ...] = ()
    on_reset: OnReset = OnReset.RESTART
    rom: Path | None = None
    balloon: bool = False
    irqchip: Irqchip = Irqchip.CORE
    schedule: VcpuParameters = field(default_factory=VcpuParameters)

    def __post_init__(self) -> None:
        check_name("guest", self.name)
        check_memory(self.memory)
        check_vcpus(self.vcpus)
        if self.irqchip is Irqchip.KERNEL and self.cpu is CpuChoice.EMULATED:
            raise UserError("the emulated CPU has no kernel's irqchip: leave it out, or take KVM")
        names = [device.name for device in self.devices] + [BALLOON] * self.balloon
        refuse_duplicates(f"guest {self.name}: device", names)
        refuse_duplicates(f"guest {self.name}: folder with tag", _tags(self.devices))


@dataclass(frozen=True, slots=True)
class Machine:
    """Guests that run together, and the names of the service OSes that serve them."""

    name: str
    guests: tuple[Guest, ...]
    services: tuple[str, ...] = (DEFAULT_SERVICE,)
    scheduling: Scheduling = field(default_factory=Scheduling)
    memory_budget: int = 0  # bytes for all guests together; 0: what the host has to spare
    settings: Mapping[str, ServiceSettings] = field(default_factory=dict)  # of service OSes by name

    def __post_init__(self) -> None:
        check_name("machine", self.name)
        for service in self.services:
            check_name("service OS", service)
        refuse_duplicates("service OS", self.services)
        refuse_duplicates("guest", (guest.name for guest in self.guests))
        for guest in self.guests:
            check_schedule(f"guest {guest.name}", guest.schedule, len(self.scheduling.pcpus))
            for device in guest.devices:
                if device.service not in self.services:
                    raise UserError(
                        f"guest {guest.name}: device {device.name} is served by {device.service}, "
                        f"which is not among the service OSes ({', '.join(self.services)})"
                    )

    def settings_of(self, service: str) -> ServiceSettings:
        """Of a service OS; the default's if nothing was said."""
        return self.settings.get(service, ServiceSettings())


def check_schedule(what: str, parameters: VcpuParameters, pcpus: int) -> None:
    """UserError unless a vCPU of a machine with so many pCPUs can have these parameters."""
    try:
        check(parameters, pcpus)
    except InvalidError as error:
        raise UserError(f"{what}: {error}") from None


def check_name(what: str, name: str) -> None:
    """UserError unless `name` can name a `what`."""
    if not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise UserError(
            f"{what} name {name!r}: use at most {NAME_LIMIT} of a-z 0-9 _ . - "
            "and begin with a letter or digit"
        )


def check_memory(memory: int) -> None:
    """UserError unless a guest can have `memory` bytes of RAM."""
    if memory % PAGE:
        raise UserError(f"memory {memory}: give a multiple of 4K")
    if not MIN_MEMORY <= memory <= MAX_MEMORY:
        limits = f"{format_size(MIN_MEMORY)} to {format_size(MAX_MEMORY)}"
        raise UserError(f"memory {format_size(memory)}: give {limits}")


def check_budget(budget: int) -> None:
    """UserError unless all guests of a machine together can have `budget` bytes."""
    if not MIN_MEMORY <= budget <= MAX_MEMORY:
        limits = f"{format_size(MIN_MEMORY)} to {format_size(MAX_MEMORY)}"
        raise UserError(f"memory_budget {format_size(budget)}: give {limits}")


def check_slice(slice_ns: int) -> None:
    """UserError unless a vCPU's turn can take that long."""
    if not MIN_SLICE <= slice_ns <= MAX_SLICE:
        limits = f"{format_duration(MIN_SLICE)} to {format_duration(MAX_SLICE)}"
        raise UserError(f"slice {format_duration(slice_ns)}: give {limits}")


def check_vcpus(vcpus: int) -> None:
    """UserError unless a guest can have that many vCPUs."""
    if not 1 <= vcpus <= MAX_VCPUS:
        raise UserError(f"vcpus {vcpus}: give 1 to {MAX_VCPUS}")


def refuse_duplicates(what: str, names: Iterable[str]) -> None:
    """UserError if one of `names` occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{what} {name} is there twice: rename one")
        seen.add(name)


def _tags(devices: Iterable[Device]) -> Iterator[str]:
    for device in devices:
        if device.model is Model.FOLDER:
            with suppress(DriverError):  # a wrong spec is refused with all others
                if tag := parse(device.spec).options.get("tag"):
                    yield tag


def tagged(name: str, spec_text: str) -> str:
    """The spec of a shared folder with a tag, its device's name unless it says another. One that is
    wrong stays as it is, to be refused with all others.
    """
    try:
        spec = parse(spec_text)
        options = get_type_hints(find(Model.FOLDER.driver_kind, spec.driver).Options)
    except DriverError:
        return spec_text
    if "tag" in options:
        spec.options.setdefault("tag", name)
    return str(spec)


def standard_devices(
    console: str, com1: str, disks: Sequence[str] = (), service: str = DEFAULT_SERVICE
) -> tuple[Device, ...]:
    """What a guest has unless told otherwise: hvc0, com1, rng0, and disk0.. from specs."""
    return (
        Device("hvc0", Model.CONSOLE, console, service),
        Device("com1", Model.UART, com1, service),
        Device("rng0", Model.ENTROPY, "system", service),
        *(Device(f"disk{i}", Model.BLOCK, spec, service) for i, spec in enumerate(disks)),
    )
