"""The last bytes that a console put out, and how far somebody has been given them, in a file.

The file is mapped and never flushed: it outlives this process, not the host, as `Keep` says. Bytes
stand where their position says, modulo the size; there is twice the room that is asked for, so that
what a dying process was just storing lies beside what is still wanted.
"""

import mmap
import os
import struct
from pathlib import Path

# Positions of the end of what is stored and of what was given, and the size: of another, nothing
# that is stored can be found again.
HEADER = struct.Struct("<QQQ")


class Backlog:
    """At most `size` bytes; OSError if the file cannot be made."""

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, HEADER.size + 2 * size)
            self._map = mmap.mmap(fd, HEADER.size + 2 * size)
        finally:
            os.close(fd)
        self._end: int
        self._given: int
        self._end, self._given, stored = HEADER.unpack_from(self._map)
        if stored != size:
            self._given = max(self._given, self._end)

    @property
    def end(self) -> int:
        """The position behind the last byte that was stored."""
        return self._end

    def store(self, data: bytes, position: int) -> bytes:
        """Keep `data`, which begins at `position`; the part of it that nobody was given yet."""
        end = position + len(data)
        new = data[min(max(0, self._given - position), len(data)) :]
        last = new[max(0, len(new) - self._size) :]
        for start, piece in self._pieces(end - len(last), len(last)):
            self._map[piece] = last[start : start + piece.stop - piece.start]
        if end > self._end:
            self._mark(end, self._given)
        return new

    def waiting(self) -> bytes:
        """What is stored and was not given to anybody."""
        start = max(self._given, self._end - self._size)
        count = max(0, self._end - start)
        return b"".join(self._map[piece] for _, piece in self._pieces(start, count))

    def give(self) -> None:
        """Somebody has been given all that there is."""
        self._mark(self._end, self._end)

    def close(self) -> None:
        """Leave the file to the next."""
        self._map.close()

    def _mark(self, end: int, given: int) -> None:
        self._end, self._given = end, given
        HEADER.pack_into(self._map, 0, end, given, self._size)

    def _pieces(self, position: int, count: int) -> list[tuple[int, slice]]:
        """The parts of the file that hold so many bytes, and how many come before each."""
        if not count:
            return []
        ring = 2 * self._size
        at = position % ring
        first = min(count, ring - at)
        pieces = [(0, slice(HEADER.size + at, HEADER.size + at + first))]
        if count > first:
            pieces.append((first, slice(HEADER.size, HEADER.size + count - first)))
        return pieces
