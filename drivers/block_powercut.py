"""A disk for tests of durability: what was not flushed stands apart, so that it can be lost.

A real disk keeps un-flushed writes in a cache and loses any of them when the power goes. This
driver keeps them in a log beside the image: `path` holds what is durable, `path` + ".log" what is
not. A test plays the power cut on copies of the two: any part of the log may be missing, reordered
or torn, and what a guest had flushed must be there nevertheless.

It survives the death of its process like any disk, because both files hold what `write` returned
from. The log is a sequence of records, each a header (`RECORD`, little-endian: magic, number of the
record from 0, offset and length in bytes, CRC-32 of the data, 0) and its data. What follows the
last whole record was being written when a process died, and never happened.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers.block_file import SECTOR, FileBlock
from drivers.interface import Claim, DriverError
from drivers.rawio import medium_error, read_all, write_all

MAGIC = b"SVPCLOG1"
RECORD = struct.Struct("<8sQQIIQ")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class PowercutBlock:
    """The driver `block.powercut`. The log is read and written from `begin` on, not before."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The image; its log is made beside it."""

        path: Path

    readonly = False

    @staticmethod
    def claims(options: Options) -> tuple[Claim, Claim]:
        """See Claiming."""
        return Claim(options.path, exclusive=True), Claim(_log_path(options), exclusive=True)

    def __init__(self, options: Options) -> None:
        self._base = FileBlock(FileBlock.Options(options.path))
        self._path = _log_path(options)
        self.identity = self._base.identity
        self.size = self._base.size
        self._fd = -1
        self._records: list[tuple[int, int, int]] = []  # offset, length, where the data is
        self._newest: dict[int, int] = {}  # by sector: where in the log its newest data is
        self._end = 0

    def begin(self) -> None:
        """See Beginning: another incarnation may have written and flushed until now."""
        self._base.begin()
        self.size = self._base.size
        try:
            fd = os.open(self._path, _FLAGS, 0o644)
        except OSError as error:
            raise DriverError(f"log {self._path} cannot be opened: {error.strerror}") from None
        with open(fd, "rb", closefd=False) as log:
            for offset, length, at in _whole_records(log.read()):
                self._note(offset, length, at)
        os.ftruncate(fd, self._end)
        self._fd = fd

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._base.read(offset, into)
        first = offset // SECTOR
        for at in range(0, len(into), SECTOR) if self._newest else ():
            newest = self._newest.get(first + at // SECTOR)
            if newest is not None:
                read_all(self._fd, newest, into[at : at + SECTOR])

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        header = RECORD.pack(MAGIC, len(self._records), offset, len(data), zlib.crc32(data), 0)
        try:
            write_all(self._fd, self._end, header + data)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise medium_error(error) from error
        self._note(offset, len(data), self._end + RECORD.size)

    def flush(self) -> None:
        """See BlockDriver. Dying in the middle is harmless: the records are still there."""
        try:
            for offset, length, at in self._records:
                data = memoryview(bytearray(length))
                read_all(self._fd, at, data)
                self._base.write(offset, data)
            self._base.flush()
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise medium_error(error) from error
        self._records.clear()
        self._newest.clear()
        self._end = 0

    def close(self) -> None:
        """See Driver."""
        try:
            if self._fd >= 0:
                self.flush()
        finally:
            if self._fd >= 0:
                os.close(self._fd)
            self._base.close()

    def _note(self, offset: int, length: int, at: int) -> None:
        self._records.append((offset, length, at))
        for skip in range(0, length, SECTOR):
            self._newest[(offset + skip) // SECTOR] = at + skip
        self._end = at + length


def _log_path(options: PowercutBlock.Options) -> Path:
    return Path(f"{options.path}.log")


def _whole_records(log: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset, length and place of the data of each, up to the first that is not whole."""
    at = number = 0
    while at + RECORD.size <= len(log):
        magic, found, offset, length, crc, _ = RECORD.unpack_from(log, at)
        at += RECORD.size
        data = log[at : at + length]
        if (magic, found, zlib.crc32(data)) != (MAGIC, number, crc) or len(data) != length:
            return
        yield offset, length, at
        at += length
        number += 1
