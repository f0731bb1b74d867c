"""The driver's side of a split virtqueue: lays rings out in guest memory and works them."""

import struct

from microhypervisor.memory.ram import GuestMemory
from microhypervisor.virtio.constants import DESC_INDIRECT, DESC_NEXT, DESC_WRITE

READ, WRITE, INDIRECT = 0, DESC_WRITE, DESC_INDIRECT


class Ring:
    """A queue of `size` descriptors at `base`; `event_idx` as negotiated."""

    def __init__(self, memory: GuestMemory, size: int, base: int = 0x10000) -> None:
        self.memory = memory
        self.size = size
        self.desc = base
        self.avail = base + 16 * size
        self.used = -(-(self.avail + 6 + 2 * size) // 4) * 4
        self.end = self.used + 6 + 8 * size
        self.seen = 0  # used elements taken so far

    def poke(self, address: int, layout: str, *values: int) -> None:
        """Store at a guest-physical address; `layout` as of struct."""
        place = self.memory.place(address, struct.calcsize("<" + layout))
        struct.pack_into("<" + layout, self.memory.view, place, *values)

    def peek(self, address: int, layout: str) -> tuple[int, ...]:
        """Load from a guest-physical address."""
        place = self.memory.place(address, struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.memory.view, place)

    def describe(self, index, address, length, flags=0, following=0, table=None) -> None:
        """Write one descriptor, into the ring's table or another one."""
        at = (self.desc if table is None else table) + 16 * index
        self.poke(at, "QIHH", address, length, flags, following)

    def chain(self, head: int, *buffers: tuple[int, int, int], table=None) -> None:
        """Descriptors head, head + 1, ... as one chain of (flags, address, length)."""
        for index, (flags, address, length) in enumerate(buffers, head):
            more = DESC_NEXT if index < head + len(buffers) - 1 else 0
            self.describe(index, address, length, flags | more, index + 1 if more else 0, table)

    def offer(self, *heads: int) -> None:
        """Make chains available."""
        (index,) = self.peek(self.avail + 2, "H")
        for head in heads:
            self.poke(self.avail + 4 + 2 * (index % self.size), "H", head)
            index = (index + 1) & 0xFFFF
        self.avail_index = index

    def take(self) -> list[tuple[int, int]]:
        """Used elements (head, written) that are new."""
        elements = []
        while self.seen != self.used_index:
            elements.append(self.peek(self.used + 4 + 8 * (self.seen % self.size), "II"))
            self.seen = (self.seen + 1) & 0xFFFF
        return elements

    @property
    def avail_index(self) -> int:
        return self.peek(self.avail + 2, "H")[0]

    @avail_index.setter
    def avail_index(self, value: int) -> None:
        self.poke(self.avail + 2, "H", value)

    @property
    def used_index(self) -> int:
        return self.peek(self.used + 2, "H")[0]

    @property
    def used_flags(self) -> int:
        return self.peek(self.used, "H")[0]

    @property
    def avail_event(self) -> int:
        """Where the device asks to be rung."""
        return self.peek(self.used + 4 + 8 * self.size, "H")[0]

    def interrupt_at(self, index: int) -> None:
        """Ask for an interrupt once used element `index` is there (event index)."""
        self.poke(self.avail + 4 + 2 * self.size, "H", index)

    def want_interrupts(self, wanted: bool) -> None:
        """Ask for interrupts, or not (without event index)."""
        self.poke(self.avail, "H", not wanted)
