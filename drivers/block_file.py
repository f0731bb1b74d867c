"""A disk in a raw image file, or a block device of the host.

Writes go to the page cache and no further: that is what survives the death of this process, and
what the guest is promised before it asks for a flush.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import Claim, DriverError
from drivers.rawio import medium_error, read_all, write_all

SECTOR = 512
IDENTITY_LENGTH = 20  # virtio 1.2, section 5.2.6: the ID string has 20 bytes
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO is refused, not waited for; disks never notice


class FileBlock:
    """The driver `block.file`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Which file, and whether guests may write to it."""

        path: Path
        readonly: bool = False

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=not options.readonly),)

    def __init__(self, options: Options) -> None:
        path = options.path
        self.readonly = options.readonly
        self._path = path
        self._begun = False
        self.identity = path.name.encode("ascii", "replace").decode()[:IDENTITY_LENGTH]
        try:
            self._fd = os.open(path, (os.O_RDONLY if self.readonly else os.O_RDWR) | _FLAGS)
        except OSError as error:
            raise DriverError(_cannot_open(path, error)) from None
        try:
            self.size = _size(path, self._fd)
        except DriverError:
            os.close(self._fd)
            raise

    def begin(self) -> None:
        """See Beginning. The size may have changed; who knew the old one will refuse it."""
        self._begun = True
        self.size = _size(self._path, self._fd)

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        try:
            read_all(self._fd, offset, into)
        except OSError as error:
            raise medium_error(error) from error

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        try:
            write_all(self._fd, offset, data)
        except OSError as error:
            raise medium_error(error) from error

    def flush(self) -> None:
        """See BlockDriver."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise medium_error(error) from error

    def close(self) -> None:
        """See Driver."""
        try:
            if self._begun and not self.readonly:
                self.flush()
        finally:
            os.close(self._fd)


def _size(path: Path, fd: int) -> int:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise DriverError(f"disk {path} is neither a file nor a block device: name one that is")
    size = os.lseek(fd, 0, os.SEEK_END)
    if size == 0:
        raise DriverError(f"disk {path} is empty: give it a size with 'truncate -s 64M {path}'")
    if size % SECTOR:
        whole = size + SECTOR - size % SECTOR
        raise DriverError(
            f"disk {path} has {size} bytes, not a multiple of {SECTOR}: "
            f"round it up with 'truncate -s {whole} {path}'"
        )
    return size


def _cannot_open(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"disk {path} does not exist: make it with 'truncate -s 64M {path}'"
    if error.errno == errno.EISDIR:
        return f"disk {path} is a directory: name a raw image file in it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"disk {path} may not be opened: change its permissions, or add readonly"
    if error.errno == errno.EROFS:
        return f"disk {path} is on a read-only file system: add readonly"
    return f"disk {path} cannot be opened: {error.strerror}"
