"""Taking space from a file, and zeros that need not be written.

The kernel does both (fallocate(2), since Linux 4.9 for block devices too), but Python's `os` has no
name for it. ctypes is loaded at the first use: most service OSes never get there.
"""

import errno
import functools
import os
from typing import Any

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16  # linux/falloc.h
# Not with this file system, kernel or device; EINVAL: not in such parts of a device's sectors.
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def punch(fd: int, offset: int, length: int) -> bool:
    """Zeros from here on, and no space for them; False if the host cannot, OSError if it fails."""
    return _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)


def zero(fd: int, offset: int, length: int) -> bool:
    """Zeros from here on, and space for them; False if the host cannot, OSError if it fails."""
    return _fallocate(fd, _ZERO_RANGE | _KEEP_SIZE, offset, length)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    import ctypes  # noqa: PLC0415

    while _libc().fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        if number in _CANNOT:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


@functools.cache
def _libc() -> Any:
    import ctypes  # noqa: PLC0415

    return ctypes.CDLL(None, use_errno=True)
