"""The grant window: the only memory that the core shares with a service OS.

One memfd for each device and epoch, sealed so that the other side cannot shrink it. Slot s owns
the bytes [s * stride, (s + 1) * stride): readable payload first, the writable area at the next
multiple of 64. What is offered as writable is cleared first, so that a service OS that claims
more than it wrote hands out zeros, never another request's data.
"""

import os

from microhypervisor.memory.sealed import sealed
from microhypervisor.virtio.virtqueue import Segment

ALIGNMENT = 64  # of the writable area: a cache line


def writable_start(readable_bytes: int) -> int:
    """Where a slot's writable area begins, relative to the slot."""
    return (readable_bytes + ALIGNMENT - 1) & -ALIGNMENT


class GrantWindow:
    """`slots` areas of `stride` bytes each, mapped by the core, the file descriptor to be sent."""

    def __init__(self, name: str, slots: int, stride: int) -> None:
        self.stride = stride
        self.size = slots * stride
        self.fd, self._map = sealed(f"grant-{name}", self.size)
        self._view = memoryview(self._map)
        self._zeros = memoryview(bytes(stride))

    def fits(self, readable_bytes: int, writable_bytes: int) -> bool:
        """Whether a request of this size can use its slot's area."""
        return writable_start(readable_bytes) + writable_bytes <= self.stride

    def offer(
        self, slot: int, ram: memoryview, readable: list[Segment], writable_bytes: int
    ) -> None:
        """Copy what the guest lets be read into the slot, clear what may be written."""
        view, at = self._view, slot * self.stride
        for offset, length in readable:
            view[at : at + length] = ram[offset : offset + length]
            at += length
        at = (at + ALIGNMENT - 1) & -ALIGNMENT  # a slot itself is aligned
        view[at : at + writable_bytes] = self._zeros[:writable_bytes]

    def written(self, slot: int, readable_bytes: int, length: int) -> memoryview:
        """The first `length` bytes of the slot's writable area."""
        start = slot * self.stride + writable_start(readable_bytes)
        return self._view[start : start + length]

    def close(self) -> None:
        """The epoch is over."""
        self._view.release()
        self._map.close()
        os.close(self.fd)
