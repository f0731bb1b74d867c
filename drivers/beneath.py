"""Finding files below a directory and nowhere else, by openat2(2) of Linux 5.6.

The kernel itself refuses to leave the directory, to follow a symbolic link, or to go into another
file system, at each step and whatever is renamed meanwhile. What is found is held by an O_PATH
descriptor, which opens nothing: a FIFO does not block and a device does not notice.
"""

import ctypes
import errno
import os

SYS_OPENAT2 = 437  # the same number on all architectures
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 1, 2, 4, 8
RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
TRIES = 32  # while others rename directories, the kernel may ask for one more

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def find(root: int, path: bytes, directory: bool = False) -> int:
    """An O_PATH descriptor of what is at `path` below the directory `root`, of a link itself if it
    is one; OSError if there is none.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_DIRECTORY if directory else 0)
    how = _How(flags, 0, RESOLVE)
    for _ in range(TRIES):
        fd: int = _libc.syscall(
            ctypes.c_long(SYS_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def again(fd: int) -> str:
    """A path to the very file behind an O_PATH descriptor, for calls that need one."""
    return f"/proc/self/fd/{fd}"
