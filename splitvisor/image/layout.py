"""The guest-physical memory map.

    0x0000_0000  RAM, free for the guest
    0x0009_0000  start info, command line, memory map (64 KiB, reserved)
    0x000a_0000  RAM, but reserved: a PC has its display adapter here
    0x000e_0000  ACPI tables (64 KiB)
    0x000f_0000  RAM, but reserved: a PC has its firmware here
    0x0010_0000  RAM, where images usually stand, up to 3 GiB
    0xc000_0000  ROM, if the guest has one (reserved)
    0xd000_0000  virtio-mmio register pages, 4 KiB each
    0xfec0_0000  IO-APIC
    0xfee0_0000  local APICs
  0x1_0000_0000  the rest of RAM

One hole between 3 and 4 GiB takes everything that is not RAM, as on a PC, so that a guest with
little memory sees one contiguous piece. The two reserved strips without contents are ordinary
memory to the core: linkers like to put an image's ELF header into the page below 1 MiB.

Images are checked against this map here, with the numbers in the error, because an image that
is overwritten by its own command line fails in ways that nobody can read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from splitvisor.errors import UserError
from splitvisor.units import format_size

PAGE = 4096
MIB = 1 << 20
BOOT_BASE = 0x9_0000
BOOT_SIZE = 0x1_0000
START_INFO = BOOT_BASE
MEMORY_MAP = BOOT_BASE + 0x1000
COMMAND_LINE = BOOT_BASE + 0x2000
ACPI_BASE = 0xE_0000
ACPI_SIZE = 0x1_0000
LOW_RAM_END = 0xC000_0000
ROM_BASE = 0xC000_0000
ROM_LIMIT = 0x1000_0000  # up to the virtio pages
VIRTIO_BASE = 0xD000_0000
VIRTIO_STRIDE = 0x1000
IO_APIC = 0xFEC0_0000
LOCAL_APIC = 0xFEE0_0000
HIGH_RAM_BASE = 0x1_0000_0000

# Global system interrupts of virtio devices, in order. 0 to 4 are the PC's timer, keyboard,
# cascade and serial ports, 8 its clock; an IO-APIC has 24 pins.
VIRTIO_IRQS = (5, 6, 7, *range(9, 24))

# Types of memory map entries (the ones of E820, ACPI 6.5 table 15.1).
MAP_RAM = 1
MAP_RESERVED = 2
MAP_ACPI = 3


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` bytes from guest-physical `base` on."""

    base: int
    size: int

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.base + self.size

    def overlaps(self, other: "Extent") -> bool:
        """Whether they share a byte."""
        return self.base < other.end and other.base < self.end

    def contains(self, other: "Extent") -> bool:
        """Whether all of `other` is in it."""
        return self.base <= other.base and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.base:#x}..{self.end - 1:#x}"


@dataclass(frozen=True, slots=True)
class MapEntry:
    """What the guest is told of a piece of its address space."""

    extent: Extent
    kind: int


def ram(memory: int) -> list[Extent]:
    """The RAM of a guest with `memory` bytes, lowest first."""
    low = min(memory, LOW_RAM_END)
    extents = [Extent(0, low)]
    if memory > low:
        extents.append(Extent(HIGH_RAM_BASE, memory - low))
    return extents


def memory_map(memory: int, rom_size: int = 0) -> list[MapEntry]:
    """What the guest is told of its address space, lowest first, no overlaps."""
    low, *high = ram(memory)
    entries = [
        MapEntry(Extent(0, BOOT_BASE), MAP_RAM),
        MapEntry(Extent(BOOT_BASE, ACPI_BASE - BOOT_BASE), MAP_RESERVED),
        MapEntry(Extent(ACPI_BASE, ACPI_SIZE), MAP_ACPI),
        MapEntry(Extent(ACPI_BASE + ACPI_SIZE, MIB - ACPI_BASE - ACPI_SIZE), MAP_RESERVED),
        MapEntry(Extent(MIB, low.end - MIB), MAP_RAM),
    ]
    if rom_size:
        entries.append(MapEntry(Extent(ROM_BASE, rom_size), MAP_RESERVED))
    entries += [MapEntry(extent, MAP_RAM) for extent in high]
    return entries


def check_segments(image: str, extents: Sequence[Extent], memory: int) -> None:
    """UserError unless all segments fit a guest with `memory` bytes and leave its tables alone."""
    pieces = ram(memory)
    for extent in extents:
        if any(piece.contains(extent) for piece in pieces):
            continue
        if extent.end <= LOW_RAM_END:
            needed = -(-max(e.end for e in extents if e.end <= LOW_RAM_END) // MIB)
            raise UserError(
                f"image {image}: segment {extent} is outside the guest's "
                f"{format_size(memory)} of memory: give it at least {needed}M"
            )
        raise UserError(
            f"image {image}: segment {extent} is where a guest with {format_size(memory)} has "
            f"no RAM: link it below {LOW_RAM_END:#x}"
        )
    kept = {
        "the start info": Extent(BOOT_BASE, BOOT_SIZE),
        "the ACPI tables": Extent(ACPI_BASE, ACPI_SIZE),
    }
    for extent in extents:
        for what, taken in kept.items():
            if extent.overlaps(taken):
                raise UserError(
                    f"image {image}: segment {extent} covers {what} at {taken}: "
                    f"link it at {MIB:#x} or above"
                )
    ordered = sorted(extents, key=lambda extent: extent.base)
    for one, other in pairwise(ordered):
        if one.overlaps(other):
            raise UserError(f"image {image}: segments {one} and {other} overlap: link it anew")
