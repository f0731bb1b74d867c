"""A file or device without the host's page cache (O_DIRECT), for requests of any whole sectors.

The kernel takes whole blocks of the file, in memory that suits the device. What is neither goes
through a buffer of our own: a write that covers a block in part reads the rest of it first and
writes it back as it was, which nobody else changes meanwhile, since one thread serves a disk.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterator

from drivers.rawio import medium_error, read_all, write_all

_SECTOR, _MOST = 512, 65536  # of what BlockDriver and Blocky allow
_BOUNCE = 1 << 20
_BLKSSZGET = 0x1268  # linux/fs.h: the size of a block device's sectors
_SYS_STATX, _AT_EMPTY_PATH, _STATX_DIOALIGN = 332, 0x1000, 0x2000  # x86-64; linux/stat.h
_STATX_BYTES, _MASK_AT, _ALIGNMENT_AT = 256, 0, 156


class Direct:
    """Reads and writes on a descriptor that was opened with O_DIRECT; MediumError as a disk's."""

    def __init__(self, fd: int, alignment: int) -> None:
        self._fd = fd
        self._alignment = alignment
        self._bounce = memoryview(mmap.mmap(-1, _BOUNCE))

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        try:
            if not self._at_once(read_all, offset, into):
                for start, piece, first, last in self._pieces(offset, len(into)):
                    read_all(self._fd, start, piece)
                    into[first - offset : last - offset] = piece[first - start : last - start]
        except OSError as error:
            raise medium_error(error) from error

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        try:
            if not self._at_once(write_all, offset, data):
                for start, piece, first, last in self._pieces(offset, len(data)):
                    if last - first < len(piece):
                        self._read_edges(start, piece)
                    piece[first - start : last - start] = data[first - offset : last - offset]
                    write_all(self._fd, start, piece)
        except OSError as error:
            raise medium_error(error) from error

    def _at_once(
        self, transfer: Callable[[int, int, memoryview], None], offset: int, memory: memoryview
    ) -> bool:
        """Without the buffer, if these are whole blocks and the kernel likes the memory."""
        if (offset | len(memory)) % self._alignment:
            return False
        try:
            transfer(self._fd, offset, memory)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, memoryview, int, int]]:
        """Where each piece of whole blocks starts, the buffer for it, and what of it is wanted."""
        align, end = self._alignment, offset + length
        start, stop = offset - offset % align, end + -end % align
        for at in range(start, stop, _BOUNCE):
            piece = self._bounce[: stop - at]
            yield at, piece, max(at, offset), min(at + len(piece), end)

    def _read_edges(self, start: int, piece: memoryview) -> None:
        align = self._alignment
        read_all(self._fd, start, piece[:align])
        if len(piece) > align:
            read_all(self._fd, start + len(piece) - align, piece[-align:])


def alignment(fd: int) -> int:
    """Of which size the blocks are that `Direct` transfers, in bytes; 0 if there is no such way.

    Kernels before 6.1 do not tell; a block of the file system or a sector of the device will do.
    """
    told = _told(fd)
    if told is not None:
        return max(told, _SECTOR) if told else 0
    found = os.fstat(fd)
    if stat.S_ISBLK(found.st_mode):
        (size,) = struct.unpack("I", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))
        return int(size)
    return min(found.st_blksize, _MOST)


def _told(fd: int) -> int | None:
    import ctypes  # noqa: PLC0415  # few disks are opened this way

    answer = ctypes.create_string_buffer(_STATX_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SYS_STATX, fd, b"", _AT_EMPTY_PATH, _STATX_DIOALIGN, answer):
        return None
    (mask,) = struct.unpack_from("I", answer.raw, _MASK_AT)
    (size,) = struct.unpack_from("I", answer.raw, _ALIGNMENT_AT)
    return int(size) if mask & _STATX_DIOALIGN else None
