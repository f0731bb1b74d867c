"""What the host's own scheduler is told: whose wake-ups matter, and whose turns may be long.

Linux (EEVDF, since 6.12) lets a thread that wakes take the CPU from one whose slice is longer, at
once instead of at the end of that slice. vCPU threads compute for ever, everybody else in the core
runs for microseconds: so those get long slices, the others short ones. It needs no privilege, and
a host that knows nothing of it is as punctual as it is without.
"""

import ctypes
import struct

_SCHED_SETATTR = 314  # x86-64
_SCHED_ATTR = struct.Struct("<IIQiIQQQ")  # size, policy, flags, nice, priority, slice, ...
SHORT_NS = 100_000
LONG_NS = 3_000_000  # what Linux gives without being asked


def set_slice(slice_ns: int) -> None:
    """Of the calling thread, and of those that it will start."""
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, 0, 0, slice_ns, 0, 0)
    ctypes.CDLL(None).syscall(_SCHED_SETATTR, 0, attributes, 0)
