"""What a mirror must not forget: which of its children are good, and where they may differ.

The file has two slots for a record of the children, written by turns, so that one of them is whole
whenever the power goes, and behind them a byte for each region of the disk: not 0 while writes are
under way there that not all children need have got. A slot is a line: magic, CRC-32, JSON.

A region is marked, durably, before the first write to it, and stays so until all children have been
flushed after the last one; so that not each write costs that, marks are taken away late.
"""

import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from drivers.interface import DriverError
from drivers.rawio import write_all

REGION = 1 << 20
SLOT = 1 << 15
MAX_NAMES = SLOT // 8  # bytes; JSON makes at most six of each, and has words of its own
_MAGIC = b"SVMIRROR1"
_LINE = re.compile(rb"SVMIRROR1 ([0-9a-f]{8}) (\{[^\n]*\})\n")


@dataclass(frozen=True, slots=True)
class Record:
    """One state of a mirror; a record of a higher generation replaces it."""

    generation: int
    size: int  # of the disk, in bytes
    region: int
    children: dict[str, bool]  # by spec: whether it is good


def encode(record: Record) -> bytes:
    """A slot."""
    text = json.dumps(asdict(record)).encode()
    line = b"%s %08x %s\n" % (_MAGIC, zlib.crc32(text), text)
    return line.ljust(SLOT, b"\0")


def decode(slot: bytes) -> Record | None:
    """None if it is not a whole record."""
    match = _LINE.match(slot)
    if match is None or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    return Record(**json.loads(match[2]))


def read(path: Path) -> Record | None:
    """The newest record; None of a mirror that never was. DriverError if the file is no such."""
    try:
        with path.open("rb") as file:
            slots = file.read(2 * SLOT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot(path, error) from None
    found = [record for at in (0, SLOT) if (record := decode(slots[at : at + SLOT]))]
    if not found and slots.strip(b"\0"):
        raise DriverError(
            f"mirror state {path} is damaged or something else: name another file, "
            "or remove it to begin anew with the first child"
        )
    return max(found, key=lambda record: record.generation, default=None)


class State:
    """The open file. OSError from whatever writes it."""

    def __init__(self, path: Path, size: int, new: dict[str, bool]) -> None:
        """`new`: the children of a mirror that never was."""
        record = read(path)
        if record and record.size != size:
            raise DriverError(
                f"mirror state {path} is of a disk of {record.size} bytes, not {size}: "
                "give the children their size back, or remove it to begin anew with the first child"
            )
        self.record = record or Record(0, size, REGION, new)
        self.region = self.record.region
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot(path, error) from None
        try:
            self.marked = self._open_marks()
            if record is None:
                self.save(new)
                _sync_folder(path)
        except OSError as error:
            os.close(self._fd)
            raise _cannot(path, error) from None
        self._old = set(self.marked)  # was written before the marks were last looked through
        self._recent: set[int] = set()

    def save(self, children: dict[str, bool]) -> None:
        """On return it is durable."""
        old = self.record
        self.record = Record(old.generation + 1, old.size, old.region, children)
        write_all(self._fd, self.record.generation % 2 * SLOT, encode(self.record))
        os.fdatasync(self._fd)

    def regions(self, offset: int, length: int) -> range:
        """Those with any of these bytes."""
        return range(offset // self.region, (offset + length - 1) // self.region + 1)

    def mark(self, regions: range) -> None:
        """On return it is known, durably, that children may differ there."""
        self._recent.update(regions)
        if self.marked.issuperset(regions):
            return
        write_all(self._fd, 2 * SLOT + regions.start, b"\1" * len(regions))
        os.fdatasync(self._fd)
        self.marked.update(regions)

    def unmark(self, but: Iterable[int]) -> None:
        """Take away marks that were not renewed since the last time; all children are flushed."""
        for region in self._old - self._recent - set(but):
            write_all(self._fd, 2 * SLOT + region, b"\0")
            self.marked.discard(region)
        self._old = set(self.marked)
        self._recent.clear()

    def close(self) -> None:
        """The marks stay."""
        os.close(self._fd)

    def _open_marks(self) -> set[int]:
        count = -(-self.record.size // self.region)
        missing = 2 * SLOT + count - os.fstat(self._fd).st_size
        if missing > 0:
            write_all(self._fd, 2 * SLOT + count - missing, bytes(missing))
            os.fsync(self._fd)
        return {found.start() for found in re.finditer(rb"[^\0]", self._marks(count))}

    def _marks(self, count: int) -> bytes:
        marks = b""
        while len(marks) < count:
            marks += os.pread(self._fd, count - len(marks), 2 * SLOT + len(marks))
        return marks


def _sync_folder(path: Path) -> None:
    """So that a file that is new is there after a loss of power."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot(path: Path, error: OSError) -> DriverError:
    return DriverError(
        f"mirror state {path} cannot be used: {error.strerror}: name a file that can be written"
    )
