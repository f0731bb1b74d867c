"""From the description of a guest to what the core is handed: a configuration and memory.

Everything that knows what an operating system expects at boot is in this package, so that the
core need not: it gets regions, registers, devices with a placement, and bytes with an address.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NoReturn

from policies.parameters import VcpuParameters
from protos import core_pb2 as core
from splitvisor.errors import UserError
from splitvisor.image import acpi, elf, layout, pvh
from splitvisor.image.cmdline import command_line
from splitvisor.image.file import read_file
from splitvisor.machine import BALLOON, CpuChoice, Guest, Irqchip, Model

CHUNK = 2 << 20  # what the contract allows in one message

# First port and global system interrupt of the PC's serial ports, in order.
SERIAL_PORTS = ((0x3F8, 4), (0x2F8, 3))
SERIAL_PORT_COUNT = 8
CLOCK_IRQ = 8

_CPUS = {
    CpuChoice.AUTO: core.CPU_AUTO,
    CpuChoice.KVM: core.CPU_KVM,
    CpuChoice.EMULATED: core.CPU_EMULATED,
}


@dataclass(frozen=True, slots=True)
class BuiltGuest:
    """A guest ready for CreateGuest and LoadGuest; `notes` are remarks worth showing."""

    config: core.GuestConfig
    pieces: tuple[tuple[int, bytes | memoryview], ...] = field(repr=False)
    notes: tuple[str, ...]

    def chunks(self) -> Iterator[core.MemoryChunk]:
        """The messages of LoadGuest, in order; may be asked for again."""
        for address, data in self.pieces:
            for start in range(0, len(data), CHUNK):
                yield core.MemoryChunk(
                    guest=self.config.name,
                    address=address + start,
                    data=bytes(data[start : start + CHUNK]),
                )


def with_specs(built: BuiltGuest, guest: Guest) -> BuiltGuest:
    """What would be built of `guest`, which differs from the one that was in specs only."""
    config = core.GuestConfig()
    config.CopyFrom(built.config)
    del config.devices[:]
    config.devices.extend(place_devices(guest))
    return replace(built, config=config)


def build(guest: Guest) -> BuiltGuest:
    """Read the guest's files and lay out its memory.

    Raises UserError for an image that is no guest or does not fit, arguments that are too long,
    and more devices than there are places.
    """
    image = elf.read(guest.image)
    layout.check_segments(image.name, [s.extent for s in image.segments], guest.memory)
    rom = _read_rom(guest)
    devices = place_devices(guest)
    virtio = [(d.virtio.base, d.virtio.irq) for d in devices if d.HasField("virtio")]
    serial = [(d.ports.base, d.ports.irq) for d in devices if d.model == Model.UART]
    clock = any(d.model == Model.RTC for d in devices)
    line = command_line(guest.name, guest.arguments, virtio)
    entries = layout.memory_map(guest.memory, len(rom))
    tables = acpi.tables(layout.ACPI_BASE, guest.vcpus, virtio, serial, clock)
    pieces: list[tuple[int, bytes | memoryview]] = [
        *((segment.extent.base, segment.data) for segment in image.segments),
        (layout.START_INFO, pvh.start_info(len(entries), tables.rsdp)),
        (layout.MEMORY_MAP, pvh.memory_map(entries)),
        (layout.COMMAND_LINE, line + b"\0"),
        (layout.ACPI_BASE, tables.data),
    ]
    regions = [
        core.Region(kind=core.REGION_RAM, base=e.base, size=e.size)
        for e in layout.ram(guest.memory)
    ]
    if rom:
        pieces.append((layout.ROM_BASE, rom))
        regions.append(core.Region(kind=core.REGION_ROM, base=layout.ROM_BASE, size=len(rom)))
    config = core.GuestConfig(
        name=guest.name,
        cpu=_CPUS[guest.cpu],
        vcpus=guest.vcpus,
        regions=regions,
        registers=pvh.registers(image.entry),
        devices=devices,
        power_ports=power_ports(),
        schedule=schedule(guest.schedule),
        kernel_irqchip=guest.irqchip is Irqchip.KERNEL,
    )
    notes = (
        f"image {image.name}: {len(image.segments)} segments, entry {image.entry:#x}",
        f"command line: {line.decode()}",
    )
    return BuiltGuest(config, tuple(pieces), notes)


def place_devices(guest: Guest) -> list[core.DeviceConfig]:
    """The guest's devices with registers and interrupt, in the order given, then its balloon."""
    virtio_places = iter(enumerate(layout.VIRTIO_IRQS))
    serial_places = iter(SERIAL_PORTS)

    def place_virtio(config: core.DeviceConfig) -> None:
        place = next(virtio_places, None)
        if place is None:
            limit = len(layout.VIRTIO_IRQS)
            _no_place(guest, config.name, f"a guest has at most {limit} virtio devices")
        index, irq = place
        base = layout.VIRTIO_BASE + index * layout.VIRTIO_STRIDE
        config.virtio.CopyFrom(core.VirtioMmio(base=base, irq=irq))

    placed: list[core.DeviceConfig] = []
    for device in guest.devices:
        config = core.DeviceConfig(
            name=device.name,
            service=device.service,
            model=device.model.value,
            spec=device.spec,
            inline_payload=device.inline_payload,
        )
        if device.model is Model.UART:
            ports = next(serial_places, None)
            if ports is None:
                _no_place(guest, device.name, f"a guest has at most {len(SERIAL_PORTS)} UARTs")
            base, irq = ports
            config.ports.CopyFrom(core.PortRange(base=base, count=SERIAL_PORT_COUNT, irq=irq))
        elif device.model is Model.RTC:
            if any(other.model == Model.RTC for other in placed):
                _no_place(guest, device.name, "a guest has at most 1 clock")
            config.ports.CopyFrom(
                core.PortRange(base=acpi.CLOCK_PORT, count=acpi.CLOCK_PORTS, irq=CLOCK_IRQ)
            )
        else:
            place_virtio(config)
        placed.append(config)
    if guest.balloon:
        placed.append(core.DeviceConfig(name=BALLOON, model="balloon", inline_payload=True))
        place_virtio(placed[-1])
    return placed


def schedule(parameters: VcpuParameters) -> core.Schedule:
    """How each of its vCPUs is scheduled."""
    return core.Schedule(
        weight=parameters.weight,
        cap=parameters.cap,
        budget_ns=parameters.budget_ns,
        period_ns=parameters.period_ns,
        affinity=sorted(parameters.affinity),
    )


def power_ports() -> list[core.PowerPort]:
    """The ports by which a guest ends, as ARCHITECTURE.md promises them to foreign images."""
    return [
        core.PowerPort(port=0xF4, mask=0, match=0, action=core.POWER_EXIT),
        core.PowerPort(port=0x64, mask=0xFF, match=0xFE, action=core.POWER_RESET),
        core.PowerPort(
            port=acpi.SLEEP_CONTROL,
            mask=acpi.SLEEP_MASK,
            match=acpi.SLEEP_S5,
            action=core.POWER_OFF,
        ),
    ]


def _read_rom(guest: Guest) -> bytes:
    """The ROM's bytes, padded to whole pages; empty without one."""
    if guest.rom is None:
        return b""
    data = read_file("rom", guest.rom)
    if not data:
        raise UserError(f"rom {guest.rom} is empty: name a file with contents")
    if len(data) > layout.ROM_LIMIT:
        raise UserError(f"rom {guest.rom} has {len(data)} bytes: at most {layout.ROM_LIMIT} fit")
    return data + bytes(-len(data) % layout.PAGE)


def _no_place(guest: Guest, device: str, why: str) -> NoReturn:
    raise UserError(f"guest {guest.name}: no place for device {device}: {why}")
