"""Notes to the next incarnation: records in a file, each there whole or not at all.

A record survives the death of this process as soon as `add` returns. One that was being written at
a death is cut off when the file is opened next. The loss of power is not covered: whoever keeps
notes here does not outlive the machine.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from drivers.rawio import write_all

_HEAD = struct.Struct("<II")  # of a record: its length, and the CRC-32 of it


class Notes:
    """The notes at a path; for one process and thread at a time. OSError if it cannot be made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.found = list(_records(path.read_bytes()))  # by earlier incarnations, oldest first
        self.size = sum(_HEAD.size + len(record) for record in self.found)
        os.ftruncate(self._fd, self.size)

    def add(self, record: bytes) -> None:
        """Have it, which is not empty, found by whoever opens the notes next; or OSError."""
        framed = _framed(record)
        write_all(self._fd, self.size, framed)
        self.size += len(framed)

    def replace(self, records: Iterable[bytes]) -> None:
        """Have these found and no others."""
        whole = b"".join(map(_framed, records))
        beside = self._path.with_name(self._path.name + ":new")
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, 0, whole)
            beside.replace(self._path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self.size = fd, len(whole)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


def _framed(record: bytes) -> bytes:
    return _HEAD.pack(len(record), zlib.crc32(record)) + record


def _records(whole: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(whole):
        length, check = _HEAD.unpack_from(whole, at)
        at += _HEAD.size
        record = whole[at : at + length]
        if not length or len(record) < length or zlib.crc32(record) != check:
            return
        yield record
        at += length
