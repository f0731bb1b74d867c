"""What may stand in each sector: per-sector linearizability over what the guest saw completed.

Every write has a number, rising in the order of submission, and stamps each of its sectors with
(sector, number). Overlapping writes take effect in that order, so a sector's versions are ordered.
A read may see any version from the newest that was certain when it was submitted (completed, or
seen by a read) up to the newest that has been submitted by its completion.

A write that a reset or an error takes away may have been seen and still be gone: replayed was only
what came before it. So it is certain no longer.
"""

import struct

from tests.simulation.disk import SECTOR
from tests.simulation.violation import Violation, check

_STAMP = struct.Struct("<QQ")
_REPEAT = SECTOR // _STAMP.size


def stamp(sector: int, number: int) -> bytes:
    """The contents of a sector, as write `number` leaves it; zeros before the first."""
    return _STAMP.pack(sector, number) * _REPEAT if number else bytes(SECTOR)


class Ledger:
    """Versions of `sectors` sectors."""

    def __init__(self, sectors: int) -> None:
        self.number = 0  # of the last write
        self.certain = [0] * sectors  # nothing older may be read
        self.completed = [0] * sectors  # the newest write that was completed
        self.durable = [0] * sectors  # nothing older may be left after a power cut
        self._versions: list[set[int]] = [{0} for _ in range(sectors)]

    def submit(self, sector: int, count: int) -> tuple[int, bytes]:
        """A new write: its number, and its data."""
        self.number += 1
        for at in range(sector, sector + count):
            self._versions[at].add(self.number)
        return self.number, b"".join(stamp(at, self.number) for at in range(sector, sector + count))

    def wrote(self, sector: int, count: int, number: int) -> None:
        """A write was completed."""
        for at in range(sector, sector + count):
            self.certain[at] = max(self.certain[at], number)
            self.completed[at] = max(self.completed[at], number)

    def gave_up(self, sector: int, count: int, number: int) -> None:
        """A write will not be completed."""
        for at in range(sector, sector + count):
            if self.certain[at] == number:
                self.certain[at] = self.completed[at]

    def read(self, sector: int, data: memoryview, least: list[int], what: str) -> None:
        """A read was completed; `least` is what was certain of its sectors at submission."""
        for n, floor in enumerate(least):
            at = sector + n
            number = self.version(at, data[n * SECTOR : (n + 1) * SECTOR], what)
            check(
                number >= floor,
                f"{what}: stale, sector {at} has write {number}, write {floor} was certain before",
            )
            self.certain[at] = max(self.certain[at], number)

    def flushed(self, completed: list[int]) -> None:
        """A flush was completed that was submitted when `completed` was."""
        self.durable = [max(pair) for pair in zip(self.durable, completed, strict=True)]

    def version(self, sector: int, data: memoryview | bytes, what: str) -> int:
        """Which write a sector holds; Violation if none that was ever made there."""
        found, number = _STAMP.unpack_from(data)
        if data == stamp(sector, number) and number in self._versions[sector]:
            return number
        raise Violation(
            f"{what}: sector {sector} has what nobody wrote there: {bytes(data[:16])!r}"
            f" (a stamp of sector {found}, write {number})"
        )

    def check_disk(self, cache: bytes | bytearray, floors: list[int], what: str) -> None:
        """All of the disk, when nothing is out."""
        for at, floor in enumerate(floors):
            number = self.version(at, bytes(cache[at * SECTOR : (at + 1) * SECTOR]), what)
            check(number >= floor, f"{what}: sector {at} has write {number}, {floor} was there")
