"""Mirrors of files whose requests can be made to fail, for tests."""

import contextlib
import os
import threading
import time

from drivers import mirror_state
from drivers.block_file import FileBlock
from drivers.block_mirror import MirrorBlock
from drivers.interface import Ability, Child, DriverError, MediumError, UnsupportedError

SIZE = (3 << 20) + 512
NEVER = 1000.0  # seconds


class Part:
    """A child for the tests: a file whose requests can be made to fail, and their order be seen."""

    def __init__(self, path, size=SIZE):
        path.touch()
        os.truncate(path, size)
        self.path = path
        self.failing = set()  # of "open", "read", "write", "flush"
        self.abilities = Ability.NONE
        self.done = []

    def child(self):
        return Child(str(self.path), lambda: PartBlock(self), tuple, lambda: "")

    def bytes(self):
        return self.path.read_bytes()

    def put(self, offset, data):
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)


class PartBlock(FileBlock):
    def __init__(self, part):
        self._part = part
        self._in_use = threading.Lock()
        self._may("open", DriverError)
        super().__init__(FileBlock.Options(part.path))
        self.abilities = part.abilities

    def read(self, offset, into):
        with self._used():
            self._may("read")
            super().read(offset, into)

    def write(self, offset, data):
        with self._used():
            self._may("write")
            super().write(offset, data)

    def flush(self):
        with self._used():
            self._may("flush")
            super().flush()

    def discard(self, offset, length):
        with self._used():
            self._may("discard", UnsupportedError)
            self._part.done.append(("discard", offset, length))

    def write_zeroes(self, offset, length, unmap):
        with self._used():
            self._may("zero", UnsupportedError)
            self._part.done.append(("zero", offset, length, unmap))
            super().write(offset, memoryview(bytes(length)))

    def _used(self):
        assert not self._in_use.locked(), "two threads use a child at a time"
        return self._in_use

    def _may(self, what, error=MediumError):
        if what in self._part.failing:
            raise error(f"{what} fails")


@contextlib.contextmanager
def mirrors(parts, state):
    """Makes mirrors of the parts; they begin with both good, unless it is said otherwise."""
    made = []

    def begun(retry=0.01, fresh=False, of=None):
        used = parts if of is None else of
        if not fresh and not state.exists():
            mirror_state.State(state, SIZE, {str(p.path): True for p in used}).close()
        disk = MirrorBlock(MirrorBlock.Options(tuple(p.child() for p in used), state, retry))
        made.append(disk)
        disk.begin()
        return disk

    yield begun
    for disk in made:
        disk.close()


def got(disk, offset, length):
    into = bytearray(length)
    disk.read(offset, memoryview(into))
    return bytes(into)


def put(disk, offset, data):
    disk.write(offset, memoryview(data))


def good(state):
    return [os.path.basename(n) for n, one in mirror_state.read(state).children.items() if one]


def wait_for_peace(disk, seconds=20):
    """Until all children are good and nothing is left to be compared."""
    deadline, tick = time.monotonic() + seconds, threading.Event()
    while True:
        with disk._legs.lock:
            if not disk._legs.out and not disk._legs.pending:
                return
        assert time.monotonic() < deadline, [leg.why for leg in disk._legs.out]
        tick.wait(0.002)


def wait_for_why(disk, why):
    """Until the child that is out is so for this reason."""
    deadline, tick = time.monotonic() + 20, threading.Event()
    while why not in disk._legs.out[0].why:
        assert time.monotonic() < deadline
        tick.wait(0.002)
