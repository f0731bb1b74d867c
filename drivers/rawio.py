"""Positional I/O on a file descriptor that does all of what it was asked, or fails.

The kernel may stop short (a signal, a file that ends, a disk that is full); a disk must not.
"""

import errno
import os

from drivers.interface import MediumError

_CURES = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "free some room, or raise the quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EIO: "look for its cause in the host's kernel log (dmesg)",
}


def medium_error(error: OSError) -> MediumError:
    """What the host said, and the cure where there is a common one."""
    text = error.strerror or str(error)
    cure = _CURES.get(error.errno or 0)
    return MediumError(f"{text}: {cure}" if cure else text)


def read_all(fd: int, offset: int, into: memoryview) -> None:
    """Fill `into` from `offset`; MediumError if the file ends before."""
    done = os.preadv(fd, (into,), offset)
    while done < len(into):
        count = os.preadv(fd, (into[done:],), offset + done)
        if count == 0:
            raise MediumError(f"the file ends at byte {offset + done}")
        done += count


def write_all(fd: int, offset: int, data: memoryview | bytes) -> None:
    """Store all of `data` at `offset`."""
    done = os.pwritev(fd, (data,), offset)
    while done < len(data):
        done += os.pwritev(fd, (memoryview(data)[done:],), offset + done)
