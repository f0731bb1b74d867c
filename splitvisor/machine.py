"""What a machine is: guests, their devices, and the service OSes that serve them.

The command line and machine files both end here, so the rules that hold for every machine are
checked here, once. Names become parts of socket paths, file names and host-visible labels,
which is why they are short and plain.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from splitvisor.errors import UserError
from splitvisor.units import format_size

PAGE = 4096
NAME_LIMIT = 32  # a Unix socket path has 107 bytes for the run directory and two names
DEFAULT_SERVICE = "service"
DEFAULT_MEMORY = 64 << 20
MIN_MEMORY = 2 << 20  # the first MiB holds start-up data; images start at the second
MAX_MEMORY = 1 << 40  # far above any host that runs this, far below the processors' 46 bits
MAX_VCPUS = 255  # local APIC ids are a byte, and 0xff addresses all of them

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

    @property
    def driver_kind(self) -> str:
        """The kind of driver behind the model: a UART is fed by console drivers."""
        return "console" if self is Model.UART else self.value


class OnReset(StrEnum):
    """What becomes of a guest that asks for a reset."""

    RESTART = "restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `spec` is driver and options, as in `file:path=disk.img,readonly`."""

    name: str
    model: Model
    spec: str
    service: str = DEFAULT_SERVICE
    inline_payload: bool = False

    def __post_init__(self) -> None:
        check_name("device", self.name)
        check_name("service OS", self.service)


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest; `memory` is bytes of RAM, `rom` a file mapped read-only."""

    name: str
    image: Path
    arguments: str = ""
    memory: int = DEFAULT_MEMORY
    vcpus: int = 1
    cpu: CpuChoice = CpuChoice.AUTO
    devices: tuple[Device, ...] = ()
    on_reset: OnReset = OnReset.RESTART
    rom: Path | None = None

    def __post_init__(self) -> None:
        check_name("guest", self.name)
        check_memory(self.memory)
        check_vcpus(self.vcpus)
        refuse_duplicates(f"guest {self.name}: device", (device.name for device in self.devices))


@dataclass(frozen=True, slots=True)
class Machine:
    """Guests that run together, and the names of the service OSes that serve them."""

    name: str
    guests: tuple[Guest, ...]
    services: tuple[str, ...] = (DEFAULT_SERVICE,)

    def __post_init__(self) -> None:
        check_name("machine", self.name)
        for service in self.services:
            check_name("service OS", service)
        refuse_duplicates("service OS", self.services)
        refuse_duplicates("guest", (guest.name for guest in self.guests))
        for guest in self.guests:
            for device in guest.devices:
                if device.service not in self.services:
                    raise UserError(
                        f"guest {guest.name}: device {device.name} is served by {device.service}, "
                        f"which is not among the service OSes ({', '.join(self.services)})"
                    )


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
