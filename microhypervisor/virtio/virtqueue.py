"""A split virtqueue (virtio 1.2, 2.7), seen from the device: the place where isolation happens.

Descriptors are where a guest names memory. Each is read once, into the core's own copy, and only
what was checked on that copy is used: every segment lies in one region of guest RAM, and leaves
here as an offset into the core's mapping. A guest that breaks a rule gets a GuestFault; nothing
it wrote can make a walk longer than the queue, or a head outstanding twice.

No locks and no I/O: the caller serialises.
"""

import struct
import threading
from dataclasses import dataclass

from microhypervisor.errors import GuestFault
from microhypervisor.limits import MAX_CHAIN_BYTES
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.virtio import constants as v

_DESCRIPTOR = struct.Struct("<QIHH").unpack_from  # address, length, flags, next

Segment = tuple[int, int]  # offset in the core's mapping of guest RAM, length in bytes


@dataclass(slots=True)
class Chain:
    """One request of the driver: what it lets the device read, then what it lets it write."""

    head: int
    readable: list[Segment]
    writable: list[Segment]
    readable_bytes: int
    writable_bytes: int


class Virtqueue:
    """Queue `index` of a device, of at most `max_size` descriptors."""

    def __init__(self, memory: GuestMemory, index: int, max_size: int) -> None:
        self.index = index
        self.max_size = max_size
        self.enabled = False
        self._memory = memory
        self._ram = memory.view
        self._place = memory.place
        self._views: list[memoryview] = []
        self._barrier = threading.Lock()

    def enable(self, size: int, desc: int, avail: int, used: int, event_idx: bool) -> None:
        """Begin service with rings at these guest-physical addresses, or GuestFault."""
        self.disable()
        if not 0 < size <= self.max_size or size & (size - 1):
            raise self._fault(f"size {size} is not a power of two up to {self.max_size}")
        self._size = size
        self._desc = self._area("descriptor table", desc, v.DESC_SIZE * size, 16)
        avail_at = self._area("available ring", avail, 6 + 2 * size, 2)
        used_at = self._area("used ring", used, 6 + 8 * size, 4)
        # flags, index, ring entries, used_event
        self._avail = self._ram[avail_at : avail_at + 6 + 2 * size].cast("H")
        # flags, index, ring elements of four halves, avail_event; and the elements as words
        self._used = self._ram[used_at : used_at + 6 + 8 * size].cast("H")
        self._elements = self._ram[used_at + 4 : used_at + 4 + 8 * size].cast("I")
        self._views = [self._avail, self._used, self._elements]
        self._used_place = used_at, 6 + 8 * size
        self._event_idx = event_idx
        self._next_avail = 0
        self._next_used = 0
        self._outstanding = bytearray(size)
        self.enabled = True

    def disable(self) -> None:
        """Forget the rings; guest memory is not touched any more."""
        self.enabled = False
        for view in self._views:
            view.release()
        self._views = []

    @property
    def pending(self) -> bool:
        """Whether the driver has made something available."""
        return bool(self._avail[1] != self._next_avail)

    def pop(self, limit: int) -> list[Chain]:
        """Take up to `limit` available chains. GuestFault if the ring or the first chain is bad.

        A bad chain behind good ones is left in place, so that the next call finds and reports it.
        """
        size, avail = self._size, self._avail
        pending = (avail[1] - self._next_avail) & 0xFFFF
        if pending > size:
            raise self._fault(f"available index is {pending} ahead, size is {size}")
        chains: list[Chain] = []
        for _ in range(min(pending, limit)):
            head = avail[2 + (self._next_avail & (size - 1))]
            try:
                chain = self._walk(head)
            except GuestFault:
                if chains:
                    break
                raise
            self._outstanding[head] = 1
            self._next_avail = (self._next_avail + 1) & 0xFFFF
            chains.append(chain)
        return chains

    def push(self, used: list[tuple[int, int]]) -> bool:
        """Return chains (head, bytes written) to the driver; True if it wants an interrupt."""
        mask, elements = self._size - 1, self._elements
        old = index = self._next_used
        for head, written in used:
            at = (index & mask) * 2
            elements[at] = head
            elements[at + 1] = written
            self._outstanding[head] = 0
            index = (index + 1) & 0xFFFF
        self._next_used = index
        self._used[1] = index  # one aligned store publishes them all
        self._note()
        self._fence()  # before looking whether the driver wants to know, 2.7.7.2
        if self._event_idx:
            event = self._avail[2 + self._size]
            return ((index - event - 1) & 0xFFFF) < ((index - old) & 0xFFFF)
        return not self._avail[0] & v.AVAIL_NO_INTERRUPT

    def silence(self) -> None:
        """Ask the driver not to ring while the core is looking anyway."""
        if not self._event_idx:  # with event index, silence is simply not moving the event
            self._used[0] = v.USED_NO_NOTIFY
            self._note()

    def listen(self) -> bool:
        """Ask the driver to ring for the next chain; True if one has arrived in the meantime."""
        if self._event_idx:
            self._used[2 + 4 * self._size] = self._next_avail
        else:
            self._used[0] = 0
        self._note()
        self._fence()  # before looking once more, or both sides might miss each other
        return self.pending

    def _note(self) -> None:
        """The used ring was written."""
        if (dirty := self._memory.dirty) is not None:
            dirty.mark(*self._used_place)

    def _fence(self) -> None:
        """Order what was stored before against what is loaded after: a locked instruction does."""
        with self._barrier:
            pass

    def _fault(self, text: str) -> GuestFault:
        return GuestFault(f"queue {self.index}: {text}")

    def _area(self, what: str, address: int, length: int, alignment: int) -> int:
        place = self._place(address, length)
        if place is None or address % alignment:
            raise self._fault(f"{what} at {address:#x} is not aligned guest RAM")
        return place

    def _walk(self, head: int) -> Chain:
        size, place, ram = self._size, self._place, self._ram
        if head >= size or self._outstanding[head]:
            raise self._fault(f"head {head} is not a free descriptor")
        readable: list[Segment] = []
        writable: list[Segment] = []
        readable_bytes = writable_bytes = steps = 0
        table, entries, indirect, index = self._desc, size, False, head
        while True:
            address, length, flags, following = _DESCRIPTOR(ram, table + index * v.DESC_SIZE)
            at = place(address, length)
            if at is None or not length:
                raise self._fault(f"buffer {address:#x}+{length:#x} is not guest RAM")
            if flags & v.DESC_INDIRECT:
                if indirect or flags & v.DESC_NEXT or length % v.DESC_SIZE:
                    raise self._fault(f"malformed indirect descriptor {index}")
                table, entries, indirect, index = at, length // v.DESC_SIZE, True, 0
                continue
            if flags & v.DESC_WRITE:
                writable.append((at, length))
                writable_bytes += length
            elif writable:
                raise self._fault("readable descriptor after a writable one")
            else:
                readable.append((at, length))
                readable_bytes += length
            steps += 1
            if not flags & v.DESC_NEXT:
                break
            index = following
            if steps >= size or index >= entries:
                raise self._fault(f"chain at head {head} is longer than the queue")
        if readable_bytes + writable_bytes > MAX_CHAIN_BYTES:
            raise self._fault(f"chain at head {head} exceeds {MAX_CHAIN_BYTES} bytes")
        return Chain(head, readable, writable, readable_bytes, writable_bytes)
