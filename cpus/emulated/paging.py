"""Guest memory as the emulated processor's own tables map it, read and written from outside.

Unicorn gives access to physical memory only; delivering an interrupt needs linear addresses.
"""

from dataclasses import dataclass

from microhypervisor.memory.ram import PAGE, DirtyPages, GuestMemory

PRESENT, WRITABLE, LARGE = 1, 2, 1 << 7
PAGING, PAE = 1 << 31, 1 << 5
ADDRESS = (1 << 52) - PAGE


class NotMapped(Exception):
    """Nothing stands there that could be read, or written."""


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """Guest memory through the control registers of one moment."""

    memory: GuestMemory
    dirty: DirtyPages | None  # where writes are noted
    cr0: int
    cr3: int
    cr4: int
    long_mode: bool

    def read(self, linear: int, size: int) -> int:
        """A little-endian number that lies within one page. Raises NotMapped."""
        return int.from_bytes(self.fetch(linear, size), "little")

    def fetch(self, linear: int, size: int) -> bytes:
        """Bytes within one page. Raises NotMapped."""
        place = self._place(self.translate(linear), size)
        return bytes(self.memory.view[place : place + size])

    def write(self, linear: int, data: bytes) -> None:
        """Write less than a page into RAM. Raises NotMapped, with nothing written then."""
        cut = min(len(data), PAGE - linear % PAGE)
        parts = [(linear, data[:cut])] + ([(linear + cut, data[cut:])] if data[cut:] else [])
        placed = [(self._ram(self.translate(at), len(part)), part) for at, part in parts]
        for place, part in placed:
            self.memory.view[place : place + len(part)] = part
            if self.dirty is not None:
                self.dirty.mark(place, len(part))

    def translate(self, linear: int) -> int:
        """The physical address. Raises NotMapped."""
        if not self.cr0 & PAGING:
            return linear & 0xFFFFFFFF
        if self.long_mode:
            shift, bits, width, table = 39, 9, 8, self.cr3 & ADDRESS
        elif self.cr4 & PAE:
            shift, bits, width, table = 30, 9, 8, self.cr3 & 0xFFFFFFE0
        else:
            shift, bits, width, table = 22, 10, 4, self.cr3 & 0xFFFFF000
        while True:
            at = table + (linear >> shift & (1 << bits) - 1) * width
            place = self._place(at, width)
            entry = int.from_bytes(self.memory.view[place : place + width], "little")
            if not entry & PRESENT:
                raise NotMapped(linear)
            if shift == 12 or (entry & LARGE and shift in (21, 22, 30)):
                offset = (1 << shift) - 1
                return entry & ADDRESS & ~offset | linear & offset
            table, shift = entry & ADDRESS, shift - bits

    def _ram(self, physical: int, size: int) -> int:
        place = self.memory.place(physical, size)
        if place is None:
            raise NotMapped(physical)
        return place

    def _place(self, physical: int, size: int) -> int:
        for region in self.memory.regions:
            if region.base <= physical and physical + size <= region.end:
                return region.offset + physical - region.base
        raise NotMapped(physical)
