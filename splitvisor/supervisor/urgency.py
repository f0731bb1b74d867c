"""What the host's scheduler is told of the supervisor and of service OSes.

Linux (EEVDF, since 6.12) lets a thread that wakes take the processor at once from one whose slice
is longer, as a vCPU's is. Whoever stands between a guest and its devices, and whoever has to notice
a death, is `prompt`. A standby that comes up takes a tenth of a second of a processor that nobody
waits for: it is `patient`, and preempts nobody, until it is ready or has to take over before that.
None of it needs privileges; a host that does not know of slices is just less punctual.
"""

import ctypes
import os
import struct
from contextlib import suppress

_SCHED_SETATTR = 314  # x86-64
_SCHED_ATTR = struct.Struct("<IIQiIQQQ")  # size, policy, flags, nice, priority, slice, ...
_SHORT_NS, _LONG_NS = 100_000, 3_000_000  # the long one is what Linux gives without being asked
_libc = ctypes.CDLL(None, use_errno=True)


def prompt(pid: int) -> None:
    """All threads of a process, and those that they will start."""
    _set(pid, os.SCHED_OTHER, _SHORT_NS)


def patient(pid: int) -> None:
    """All threads of a process, and those that they will start."""
    _set(pid, os.SCHED_BATCH, _LONG_NS)


def _set(pid: int, policy: int, slice_ns: int) -> None:
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, 0, 0, 0, slice_ns, 0, 0)
    with suppress(OSError):  # the process is gone
        for thread in os.listdir(f"/proc/{pid}/task"):
            _libc.syscall(_SCHED_SETATTR, int(thread), attributes, 0)
