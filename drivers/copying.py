"""What is done with two disks while one is copied to the other and goes on being written.

There are two rules. A piece is read from the source and written to the target with the target's
lock held throughout. A write goes to the source first, and then, with the target's lock held, to
the target as far as the copy has come. So whichever comes first, a piece or a write that touches
it, the target has in the end what the source has; and beyond the reach of the copy a write costs
nothing more than before. Reads wait only while a piece is read, not while it is written.

An error of the target ends the copy, and nobody else: what is written goes to the source alone.
"""

import threading
from typing import Any

from drivers.zeros import put_zeros

PIECE = 1 << 20
_ZEROS = bytes(PIECE)


class Pair:
    """A source, a target that is at least as large, and how far they are known to be equal."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target
        self.source_lock = threading.Lock()
        self.target_lock = threading.Lock()  # taken before the source's by who needs both
        self.reach = 0  # bytes
        self.problem = ""  # why the target is given up, in one line

    def advance(self, length: int) -> None:
        """Copy the next piece, of at most PIECE bytes; after a problem nothing is done."""
        with self.target_lock:
            length = min(length, self.source.size - self.reach)
            if not self.problem and self._copied(self.reach, length):
                self.reach += length

    def follow(self, offset: int, length: int, act: Any) -> bool:
        """Something was done to the source: `act` does the same to the target, with a disk, an
        offset and a length, as far as that is copied already. False if that is the target's end.
        """
        with self.target_lock:
            end = min(offset + length, self.reach)
            if self.problem or offset >= end:
                return True
            try:
                act(offset, end - offset)
            except Exception as error:  # whatever a driver raises, the guest is not concerned
                self.give_up(f"target: {_line(error)}")
            return not self.problem

    def copy_again(self, offset: int, length: int) -> bool:
        """What the source now holds is not known beforehand; otherwise as `follow`."""

        def act(start: int, count: int) -> None:
            for at in range(start, start + count, PIECE):
                self._copied(at, min(PIECE, start + count - at))

        return self.follow(offset, length, act)

    def flush(self) -> bool:
        """Flush the target; False if that is its end."""
        with self.target_lock:
            if not self.problem:
                try:
                    self.target.flush()
                except Exception as error:
                    self.give_up(f"target: {_line(error)}")
            return not self.problem

    def give_up(self, why: str) -> None:
        """The target is not written any more."""
        self.problem = self.problem or why

    def _copied(self, offset: int, length: int) -> bool:
        data = bytearray(length)
        try:
            with self.source_lock:
                self.source.read(offset, memoryview(data))
        except Exception as error:
            self.give_up(f"source, at byte {offset}: {_line(error)}")
            return False
        try:
            if data == (_ZEROS if length == PIECE else bytes(length)):
                put_zeros(self.target, offset, length, unmap=True)
            else:
                self.target.write(offset, memoryview(data))
        except Exception as error:
            self.give_up(f"target, at byte {offset}: {_line(error)}")
        return not self.problem


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
