"""A disk in a raw image file, or a block device of the host.

Writes go to the page cache and no further: that is what survives the death of this process, and
what the guest is promised before it asks for a flush. With `direct` they go around it, for hosts
whose memory has better uses; a flush is needed there too, for what the device itself caches.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from drivers import holes
from drivers.direct import Direct, alignment
from drivers.interface import Ability, Claim, DriverError
from drivers.rawio import medium_error, read_all, write_all
from drivers.zeros import write_zeros

SECTOR = 512
IDENTITY_LENGTH = 20  # virtio 1.2, section 5.2.6: the ID string has 20 bytes
_BLKDISCARD = 0x1277  # linux/fs.h
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO is refused, not waited for; disks never notice


class FileBlock:
    """The driver `block.file`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Which file, whether guests may write to it, and how."""

        path: Path
        readonly: bool = False
        direct: bool = False  # without the host's page cache
        discard: bool = True  # give space back that guests no longer need
        serial: str = ""  # what guests read as serial number; the file's name if there is none

        def __post_init__(self) -> None:
            if not self.serial.isascii() or len(self.serial) > IDENTITY_LENGTH:
                raise ValueError(
                    f"serial {self.serial!r} is not at most {IDENTITY_LENGTH} ASCII characters"
                )

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=not options.readonly),)

    @staticmethod
    def content(options: Options) -> str:
        """See Identified: the file itself, whatever it is called."""
        try:
            found = options.path.stat()
        except OSError:
            return ""
        if stat.S_ISBLK(found.st_mode):
            return f"device {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        return f"file {found.st_dev}:{found.st_ino}"

    def __init__(self, options: Options) -> None:
        self.readonly = options.readonly
        self._path = options.path
        self._trims = options.discard
        name = options.serial or options.path.name
        self.identity = name.encode("ascii", "replace").decode()[:IDENTITY_LENGTH]
        self.abilities = Ability.NONE if self.readonly else Ability.WRITE_ZEROES
        if self._trims and not self.readonly:
            self.abilities |= Ability.DISCARD
        self._fd = _opened(options)
        try:
            self.block_size = alignment(self._fd) if options.direct else mmap.PAGESIZE
            self._unit = self.block_size if options.direct else SECTOR
            if not self._unit:
                raise DriverError(_not_direct(self._path))
            self._direct = Direct(self._fd, self._unit) if options.direct else None
            self.size = _size(self._path, self._fd, self._unit)
        except BaseException:
            os.close(self._fd)
            raise

    def begin(self) -> None:
        """See Beginning. The size may have changed; who knew the old one will refuse it."""
        self.size = _size(self._path, self._fd, self._unit)

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        if self._direct is not None:
            return self._direct.read(offset, into)
        try:
            read_all(self._fd, offset, into)
        except OSError as error:
            raise medium_error(error) from error

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        if self._direct is not None:
            return self._direct.write(offset, data)
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

    def discard(self, offset: int, length: int) -> None:
        """See Discarding. What the host cannot do, it need not."""
        try:
            if stat.S_ISBLK(os.fstat(self._fd).st_mode):
                _discard_sectors(self._fd, offset, length)
            else:
                holes.punch(self._fd, offset, length)
        except OSError as error:
            raise medium_error(error) from error

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing. Block devices know both ways, as files do."""
        try:
            done = unmap and self._trims and holes.punch(self._fd, offset, length)
            done = done or holes.zero(self._fd, offset, length)
        except OSError as error:
            raise medium_error(error) from error
        if not done:
            write_zeros(self.write, offset, length)

    def close(self) -> None:
        """See Driver."""
        os.close(self._fd)


def _opened(options: FileBlock.Options) -> int:
    flags = _FLAGS | (os.O_RDONLY if options.readonly else os.O_RDWR)
    try:
        return os.open(options.path, flags | (os.O_DIRECT if options.direct else 0))
    except OSError as error:
        if options.direct and error.errno == errno.EINVAL:
            raise DriverError(_not_direct(options.path)) from None
        raise DriverError(_cannot_open(options.path, error)) from None


def _discard_sectors(fd: int, offset: int, length: int) -> None:
    try:
        fcntl.ioctl(fd, _BLKDISCARD, struct.pack("QQ", offset, length))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # EINVAL: in parts of its sectors
            raise


def _size(path: Path, fd: int, unit: int) -> int:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise DriverError(f"disk {path} is neither a file nor a block device: name one that is")
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
    except OSError:  # of /proc
        raise DriverError(f"disk {path} has no size: name a file or block device") from None
    if size == 0:
        raise DriverError(f"disk {path} is empty: give it a size with 'truncate -s 64M {path}'")
    if size % unit:
        whole = size + unit - size % unit
        raise DriverError(
            f"disk {path} has {size} bytes, not a multiple of {unit}: "
            f"round it up with 'truncate -s {whole} {path}'"
        )
    return size


def _not_direct(path: Path) -> str:
    return f"disk {path} cannot be used without the page cache (its file system): leave direct out"


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
