"""Guest RAM: one sealed memfd per guest, mapped by the core alone.

The regions of the guest-physical map stand one behind the other in the memfd, lowest first.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from microhypervisor.errors import PeerFault
from microhypervisor.memory.sealed import sealed

PAGE = 4096
MAX_ADDRESS = 1 << 46  # what every x86-64 can address, and then some


class RegionKind(Enum):
    """RAM, or memory that the guest may only read."""

    RAM = "ram"
    ROM = "rom"


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes at guest-physical `base`, backed by the memfd from `offset` on."""

    kind: RegionKind
    base: int
    size: int
    offset: int

    @property
    def end(self) -> int:
        """The first guest-physical address after it."""
        return self.base + self.size


def lay_out(wanted: Iterable[tuple[RegionKind, int, int]]) -> list[Region]:
    """Regions (kind, base, size) by address, each with its place in the memfd.

    Raises PeerFault for unaligned, empty or overlapping ones.
    """
    regions: list[Region] = []
    offset = 0
    for kind, base, size in sorted(wanted, key=lambda item: item[1]):
        if base % PAGE or size % PAGE or size <= 0 or base + size > MAX_ADDRESS:
            raise PeerFault(f"memory region {base:#x}+{size:#x} is not made of whole 4 KiB pages")
        if regions and base < regions[-1].end:
            raise PeerFault(f"memory region {base:#x}+{size:#x} overlaps the one before it")
        regions.append(Region(kind, base, size, offset))
        offset += size
    if not regions:
        raise PeerFault("a guest needs at least one memory region")
    return regions


class DirtyPages:
    """Which of `pages` pages were written: bit n % 8 of byte n / 8 is page n. Any thread."""

    def __init__(self, pages: int) -> None:
        self._bits = bytearray(-(-pages // 8))
        self._lock = threading.Lock()

    def mark(self, place: int, length: int) -> None:
        """That much at `place` was written; said after the write, so that none is missed."""
        with self._lock:
            for page in range(place // PAGE, (place + length - 1) // PAGE + 1):
                self._bits[page >> 3] |= 1 << (page & 7)

    def take(self) -> bytearray:
        """What was marked since the last time."""
        with self._lock:
            taken, self._bits = self._bits, bytearray(len(self._bits))
        return taken


class GuestMemory:
    """The guest-physical memory of one guest."""

    def __init__(self, name: str, regions: list[Region]) -> None:
        self.regions = regions
        self.size = sum(region.size for region in regions)
        ram = [region for region in regions if region.kind is RegionKind.RAM]
        self._ram = [(r.base, r.end, r.offset - r.base) for r in ram]
        self.fd, self._map = sealed(f"guest-{name}", self.size)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.host_address = ctypes.addressof(self._anchor)
        self.view = memoryview(self._map)
        self.dirty: DirtyPages | None = None  # what the core wrote; kept only while wanted
        self._closing = threading.Lock()  # whoever lists guests may come beside their end

    def track_dirty(self, on: bool) -> None:
        """Begin to note which pages the core itself writes, with none noted yet; or end it."""
        self.dirty = DirtyPages(self.size // PAGE) if on else None

    def take_dirty(self) -> bytearray:
        """What was noted since the last time; see DirtyPages."""
        return (self.dirty or DirtyPages(self.size // PAGE)).take()

    def place(self, address: int, length: int) -> int | None:
        """Offset in `view` of guest-physical RAM [address, address + length), or None."""
        for base, end, shift in self._ram:
            if base <= address and address + length <= end:
                return address + shift
        return None

    def load(self, address: int, data: bytes) -> None:
        """Write into RAM or ROM, as the launcher may before the guest starts."""
        for region in self.regions:
            if region.base <= address and address + len(data) <= region.end:
                start = region.offset + address - region.base
                self.view[start : start + len(data)] = data
                if self.dirty is not None:
                    self.dirty.mark(start, len(data))
                return
        raise PeerFault(
            f"segment {address:#x}+{len(data):#x} is outside guest memory: give it more"
        )

    def in_rom(self, address: int) -> bool:
        """Whether a refused guest write at `address` hit ROM rather than a hole."""
        return any(r.kind is RegionKind.ROM and r.base <= address < r.end for r in self.regions)

    def resident(self) -> int:
        """Bytes of host memory that it takes now; none once it is closed. Any thread."""
        with self._closing:
            return os.fstat(self.fd).st_blocks * 512 if self.fd >= 0 else 0

    def release(self, address: int, length: int) -> int:
        """Give the host what lies wholly in one RAM region; it reads as zeros then. The bytes."""
        start, end = -(-address // PAGE) * PAGE, (address + length) // PAGE * PAGE
        place = self.place(start, end - start) if start < end else None
        if place is None:
            return 0
        self._map.madvise(mmap.MADV_REMOVE, place, end - start)
        if self.dirty is not None:
            self.dirty.mark(place, end - start)
        return end - start

    def close(self) -> None:
        """Unmap and give the pages back. No vCPU runs any more."""
        self.view.release()
        del self._anchor
        self._map.close()
        with self._closing:
            os.close(self.fd)
            self.fd = -1
