"""A disk that moves to another while it is used: served from the one, and copied to the other.

The guest's reads come from the source. A thread copies it to the target, piece by piece, and what
is written meanwhile goes to both (see copying.py). It makes way for the guest: after a piece during
which the guest asked for something it pauses for longer than the piece took, and the next one is
smaller if that took long; an idle guest leaves it all the time.

When all is copied and flushed, a mark in the run directory says so; that is what `block.pivot`
looks for, which then serves from the target. The mark is taken away before a write returns that
the target failed, and by each incarnation that begins: a process that dies in the middle of a
write has it replayed, or not if the guest was reset, so the two may differ anywhere; the copy
starts over. The source has everything at all times and can be gone back to whenever one likes.

A target may be larger than the source; what it has beyond is its own and stays as it is.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.bucket import Bucket
from drivers.copying import CHUNK, PIECE, Pair
from drivers.filter import abilities_of, begin, block_size_of, close_all, open_all, patience_of
from drivers.interface import Ability, Child, Claim, DriverError, Keep, MediumError, Progress
from drivers.options import Size
from drivers.raised import of_option
from drivers.zeros import put_zeros

FLUSHED_AT = 32 * PIECE  # so that no flush takes long
QUICK, SLOW = 0.0005, 0.001  # seconds for a piece while the guest asks for something
REST = 3.0  # times what a piece took, which the guest then has for itself
FEW = 16  # chunks: so many may be copied while writes wait
ROUNDS = 10  # before it may be more
BURST = 0.1  # seconds
LOCKED = 30.0  # seconds that a write may have to wait for the last flush of the target


class MigrateBlock:
    """The driver `block.migrate`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """From where to where, and how fast at most."""

        source: Child
        target: Child
        keep: Keep
        rate: Size = Size(0)  # bytes a second; 0: as fast as it can

    readonly = False

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        return [*options.source.claims(), *options.target.claims()]

    @staticmethod
    def content(options: Options) -> str:
        """See Identified."""
        return str(options.source.content())

    def __init__(self, options: Options) -> None:
        self._opened = open_all((options.source, options.target))
        self._pair = Pair(*self._opened)
        self._mark = Mark(options.keep, options.target)
        self._bucket = Bucket(options.rate, BURST, time.monotonic()) if options.rate else None
        self._asked = 0  # requests of the guest
        self._piece = PIECE
        self._complete = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._copy, name="copy", daemon=True)
        try:
            self._describe()
        except BaseException:
            close_all(self._opened)
            raise

    def begin(self) -> None:
        """See Beginning."""
        self._mark.remove()
        for name, disk in zip(("source", "target"), self._opened, strict=True):
            with of_option(name):
                begin(disk)
        self._describe()
        self._thread.start()

    def progress(self) -> Progress:
        """See Reporting."""
        return Progress(self._pair.reach, self.size, self._complete, self._pair.problem)

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._asked += 1
        with self._pair.source_lock:
            self._pair.source.read(offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self._asked += 1
        self._change(offset, len(data), lambda disk: disk.write(offset, data))
        target = self._pair.target
        self._followed(
            self._pair.follow(offset, len(data), lambda at, size: target.write(at, data[:size]))
        )

    def flush(self) -> None:
        """See BlockDriver."""
        self._asked += 1
        with self._pair.source_lock:
            self._pair.source.flush()
        if self._pair.settled:  # before that the end of the copy sees to it
            self._followed(self._pair.flush())

    def discard(self, offset: int, length: int) -> None:
        """See Discarding. What is read there now is for the source to choose."""
        self._asked += 1
        self._change(offset, length, lambda disk: disk.discard(offset, length))
        self._followed(self._pair.copy_again(offset, length))

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self._asked += 1
        self._change(offset, length, lambda disk: disk.write_zeroes(offset, length, unmap))
        target = self._pair.target
        self._followed(
            self._pair.follow(offset, length, lambda at, size: put_zeros(target, at, size, unmap))
        )

    def close(self) -> None:
        """See Driver."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()
        close_all(self._opened)

    def _change(self, offset: int, length: int, act: Any) -> None:
        """Change the source; if that fails it may hold anything there, and so must the target."""
        try:
            with self._pair.source_lock:
                act(self._pair.source)
        except Exception:
            self._followed(self._pair.copy_again(offset, length))
            raise

    def _followed(self, good: bool) -> None:
        """What a write was not followed by must be known before it returns."""
        if self._complete and (not good or self._pair.problem):
            try:
                self._mark.remove()
            except OSError as error:
                raise MediumError(f"the mark of a copy cannot be removed: {error}") from None
            self._complete = False

    def _describe(self) -> None:
        source, target = self._opened
        if source.readonly:
            raise DriverError("the source of a copy is read-only: it needs none, copy it by cp")
        if getattr(target, "forgets", False):
            raise DriverError("the target of a copy keeps nothing: name a disk that does")
        if target.readonly:
            raise DriverError("the target of a copy is read-only: leave readonly out")
        if target.size < source.size:
            raise DriverError(
                f"the target has {target.size} bytes, and the source has {source.size}: "
                "make it at least as large"
            )
        self.size: int = source.size
        self.identity: str = source.identity
        self.block_size = block_size_of(source)
        self.abilities = abilities_of(source) & (Ability.DISCARD | Ability.WRITE_ZEROES)
        each = [patience_of(source), patience_of(target)]
        known = [one for one in each if one is not None]
        self.patience = LOCKED + sum(known) if len(known) == len(each) else None

    def _copy(self) -> None:
        pair, flushed = self._pair, 0
        while pair.reach < self.size and not pair.problem:
            if not self._step(pair.advance):
                return
            if pair.reach - flushed >= FLUSHED_AT:
                pair.flush()
                flushed = pair.reach
        for _ in range(ROUNDS):  # each leaves less, unless the guest writes faster than we do
            pair.flush()
            for _ in range(pair.missed):
                if pair.missed > FEW and not self._step(pair.catch_up):
                    return
            if pair.missed <= FEW or pair.problem:
                break
        if pair.settle() and pair.flush():
            self._finish()

    def _step(self, act: Callable[[int], None]) -> bool:
        """Have a piece copied, and let the guest have its turn; False if it is time to end."""
        began, asked = time.monotonic(), self._asked
        act(self._piece)
        now = time.monotonic()
        delay = self._bucket.take(self._piece, now) if self._bucket else 0.0
        if self._asked == asked:
            self._piece = min(self._piece * 2, PIECE)
        else:
            delay = max(delay, REST * (now - began))
            if now - began > SLOW:
                self._piece = max(self._piece // 2, CHUNK)
            elif now - began < QUICK:
                self._piece = min(self._piece * 2, PIECE)
        return not (self._ending.wait(delay) if delay else self._ending.is_set())

    def _finish(self) -> None:
        with self._pair.target_lock:
            if self._ending.is_set() or self._pair.problem:
                return
            try:
                self._mark.make()
            except OSError as error:
                self._pair.give_up(f"the end of the copy cannot be noted: {error.strerror}")
            else:
                self._complete = True


class Mark:
    """Whether a target has all that the source had, for as long as the machine runs."""

    def __init__(self, keep: Keep, target: Child) -> None:
        self._path = _path(keep)
        self._text = target.spec

    def make(self) -> None:
        """It has. OSError if that cannot be noted."""
        self._path.write_text(self._text)

    def remove(self) -> None:
        """No target has."""
        self._path.unlink(missing_ok=True)

    def is_there(self) -> bool:
        """Whether it has, as far as is known."""
        with suppress(OSError, UnicodeDecodeError):
            return self._path.read_text() == self._text
        return False


def _path(keep: Keep) -> Path:
    """No memory disk's name has a dot, so this is no such disk's place."""
    return keep.path.with_name(f"{keep.path.name}:migrate.done")
