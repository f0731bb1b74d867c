"""Memory behind a file descriptor whose size nobody can change: a shrunken mapping is a SIGBUS."""

import fcntl
import mmap
import os

from microhypervisor.errors import EnvironmentFault

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed(name: str, size: int) -> tuple[int, mmap.mmap]:
    """A memfd of `size` bytes, and the core's mapping of it; EnvironmentFault if there is none."""
    fd = -1
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        return fd, mmap.mmap(fd, size)
    except (OSError, ValueError) as error:
        if fd >= 0:
            os.close(fd)
        raise EnvironmentFault(f"cannot map {size >> 20} MiB for {name}: {error}") from None
