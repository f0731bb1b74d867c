"""What the host's own scheduler is told: whose wake-ups matter, and whose turns may be long.

Linux (EEVDF, since 6.12) lets a thread that wakes take the CPU at once from one whose slice is
longer. vCPU threads compute for ever and get long slices, the core's others run for microseconds
and get short ones. It needs no privilege; a host that does not know of it is just less punctual.
"""

import ctypes
import struct

_SCHED_SETATTR = 314  # x86-64
_SCHED_ATTR = struct.Struct("<IIQiIQQQ")  # size, policy, flags, nice, priority, slice, ...
SHORT_NS, LONG_NS = 100_000, 3_000_000  # the long one is what Linux gives without being asked


def set_slice(slice_ns: int) -> None:
    """Of the calling thread, and of those that it will start."""
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, 0, 0, slice_ns, 0, 0)
    ctypes.CDLL(None).syscall(_SCHED_SETATTR, 0, attributes, 0)
