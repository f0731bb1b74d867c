"""A log in files of a fixed size: the one being written has the plain name, earlier ones a number.

Byte p of the log is byte p modulo `size` of file p // `size`, so a byte that is written again lands
where it was. Which number the plain file has is told by the others' names alone: one more than the
highest. To go on to the next, the plain file is renamed to its number and a new one made; whoever
dies between the two has renamed it, and the next incarnation goes on from there.
"""

import contextlib
import os
import re
from pathlib import Path

from drivers.rawio import medium_error, write_all

DIGITS = 6  # at least, so that names sort like numbers, and look like no other program's


class Rotation:
    """The log at `path`; `keep` of its numbered files are left. OSError if it cannot be opened."""

    def __init__(self, path: Path, size: int, keep: int) -> None:
        self._path = path
        self._size = size
        self._keep = keep
        self._fd = _opened(path)
        self._number = max(self._numbers(), default=-1) + 1
        held = os.fstat(self._fd).st_size
        self.end = self._number * size + min(held, size)  # the position where it goes on

    def write(self, data: memoryview, position: int) -> None:
        """Put bytes at their places; MediumError if that cannot be. Those of earlier files stand
        there: they had been written before the next file was begun.
        """
        while data:
            number, offset = divmod(position, self._size)
            piece = data[: self._size - offset]
            try:
                if number > self._number:
                    self._turn(number)
                if number == self._number:
                    write_all(self._fd, offset, piece)
            except OSError as error:
                raise medium_error(error) from error
            data = data[len(piece) :]
            position += len(piece)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)

    def _turn(self, number: int) -> None:
        """Go on with file `number`; may be done again from any point where it broke off."""
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(self._numbered(number - 1))
        fresh = _opened(self._path)
        os.close(self._fd)
        self._fd, self._number = fresh, number
        for old in self._numbers():
            if old < number - self._keep:
                self._numbered(old).unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number:0{DIGITS}}")

    def _numbers(self) -> list[int]:
        pattern = re.compile(rf"{re.escape(self._path.name)}\.(\d{{{DIGITS},}})")
        names = os.listdir(self._path.parent)
        return [int(found[1]) for name in names if (found := pattern.fullmatch(name))]


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o644)
