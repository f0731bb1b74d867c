"""What is done with two disks while one is copied to the other and goes on being written.

There are two rules. A piece is read from the source and written to the target with the target's
lock held throughout. A write goes to the source first, and then, with the target's lock held, to
the target as far as the copy has come. So whichever comes first, a piece or a write that touches
it, the target has in the end what the source has.

A write does not wait for that lock, which is held long while the target is flushed: if somebody has
it, the chunks that were written are noted, and copied again. Only at the end, when the copy is
`settled`, writes wait. Reads wait only while a piece is read, not while it is written.

An error of the target ends the copy, and nobody else: what is written goes to the source alone.
"""

import threading
from typing import Any

from drivers.raised import one_line
from drivers.zeros import put_zeros

PIECE = 1 << 20
CHUNK = PIECE >> 4
_ZEROS = bytes(PIECE)


class Pair:
    """A source, a target that is at least as large, and how far they are known to be equal.

    Two threads use it: one serves, by the source and its lock, `follow`, `copy_again` and `flush`;
    the other copies, by `advance`, `catch_up`, `flush` and `settle`.
    """

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target
        self.source_lock = threading.Lock()
        self.target_lock = threading.Lock()  # taken before the source's by who needs both
        self.reach = 0  # bytes
        self.settled = False  # from now on nothing is missed
        self.problem = ""  # why the target is given up, in one line
        self._missed: set[int] = set()  # chunks, by number
        self._noting = threading.Lock()  # of these and `settled`; taken last

    @property
    def missed(self) -> int:
        """How many chunks below the reach are to be copied again."""
        return len(self._missed)

    def advance(self, length: int) -> None:
        """Copy the next piece, of at most PIECE bytes; after a problem nothing is done."""
        with self.target_lock:
            length = min(length, self.source.size - self.reach)
            if not self.problem and self._copied(self.reach, length):
                self.reach += length

    def catch_up(self, length: int) -> None:
        """Copy again some of what was missed, of so many bytes."""
        with self.target_lock:
            self._catch_up(max(1, length // CHUNK))

    def settle(self) -> bool:
        """All is copied but what was missed: copy that; from now on writes wait. False if there
        was a problem.
        """
        with self.target_lock:
            with self._noting:
                self.settled = True
            self._catch_up(len(self._missed))
            return not self.problem

    def follow(self, offset: int, length: int, act: Any) -> bool:
        """Something was done to the source: `act` does the same to the target, with an offset and
        a length, as far as that is copied already. False if that is the target's end.
        """
        if self.problem:
            return True
        if not self.target_lock.acquire(blocking=False):
            if self._noted(offset, length):
                return True
            self.target_lock.acquire()
        try:
            end = min(offset + length, self.reach)
            if self.problem or offset >= end:
                return True
            try:
                act(offset, end - offset)
            except Exception as error:  # whatever a driver raises, the guest is not concerned
                self.give_up(f"target: {_line(error)}")
            return not self.problem
        finally:
            self.target_lock.release()

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

    def _noted(self, offset: int, length: int) -> bool:
        """Whether it is enough to copy this again, because the copy is not settled yet."""
        with self._noting:
            if self.settled:
                return False
            if offset < self.reach + PIECE:  # or within the piece that is being copied
                self._missed.update(range(offset // CHUNK, (offset + length - 1) // CHUNK + 1))
            return True

    def _catch_up(self, most: int) -> None:
        """Copy so many chunks again, with the lock held."""
        for _ in range(most):
            with self._noting:
                if not self._missed or self.problem:
                    return
                start = self._missed.pop() * CHUNK
            if start < self.reach:
                self._copied(start, min(CHUNK, self.reach - start))

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
    return one_line(str(error)) or type(error).__name__
