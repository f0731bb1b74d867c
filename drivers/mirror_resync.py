"""Bringing the children of a mirror together again, in the background, while it serves.

Two kinds of work. Regions that were being written when the power went: there the first good child
has the last word. Children that are out: opened anew and compared from the first byte to the last,
whatever became of them meanwhile, and written where they differ; then they are good. It goes piece
by piece under the lock, with a pause after each as long as that took, so that guests have half the
time, and starts over when this process dies.
"""

import threading
import time

from drivers.interface import DriverError
from drivers.mirror_legs import FAILURES, Leg, Legs

PIECE = 1 << 18


class Resync:
    """A thread that looks for work every `retry` seconds."""

    def __init__(self, legs: Legs, size: int, region: int, retry: float) -> None:
        self._legs = legs
        self._size = size
        self._region = region
        self._retry = retry
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resync", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """When it returns no child is being used."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._retry):
            with self._legs.lock:
                pending = sorted(self._legs.pending)
            for region in pending:
                if not self._ending.is_set():
                    self._settle(region)
            for leg in self._legs.out:
                if not self._ending.is_set():
                    self._bring_back(leg)

    def _settle(self, region: int) -> None:
        """Make the good ones equal in a region."""
        start = region * self._region
        for at in range(start, min(start + self._region, self._size), PIECE):
            began = time.monotonic()
            with self._legs.lock:
                try:
                    data = self._source(at)
                except FAILURES:
                    return  # and again after a while
                for leg in self._legs.good[1:]:
                    try:
                        _copy(leg, at, data)
                    except FAILURES as error:
                        self._legs.drop(leg, error)
            if self._ending.wait(time.monotonic() - began):
                return
        with self._legs.lock:
            self._legs.pending.discard(region)

    def _bring_back(self, leg: Leg) -> None:
        try:
            self._reopen(leg)
            for at in range(0, self._size, PIECE):
                began = time.monotonic()
                with self._legs.lock:
                    if leg.reach != at:
                        return  # it failed a write meanwhile, and that was told
                    data = self._source(at)
                    _copy(leg, at, data)
                    leg.reach = at + len(data)
                if self._ending.wait(time.monotonic() - began):
                    return
            with self._legs.lock:
                if leg.reach == self._size:
                    self._legs.promote(leg)
        except (DriverError, *FAILURES) as error:
            self._failed(leg, str(error))

    def _failed(self, leg: Leg, why: str) -> None:
        with self._legs.lock:
            leg.reach = 0
        if why != leg.why:
            leg.why = why
            self._legs.tell(leg, f"is out: {why}")

    def _reopen(self, leg: Leg) -> None:
        leg.close()
        leg.open()
        leg.begin()
        if leg.driver is None:
            raise DriverError(leg.why)
        if leg.driver.size != self._size or leg.driver.readonly:
            raise DriverError(f"it is not a disk of {self._size} bytes that can be written")

    def _source(self, at: int) -> memoryview:
        data = memoryview(bytearray(min(PIECE, self._size - at)))
        self._legs.read(at, data)
        return data


def _copy(leg: Leg, at: int, data: memoryview) -> None:
    """Write what differs; what cannot be read must be readable afterwards."""
    found = memoryview(bytearray(len(data)))
    try:
        leg.driver.read(at, found)
    except FAILURES:
        leg.driver.write(at, data)
        leg.driver.read(at, found)
    else:
        if found != data:
            leg.driver.write(at, data)
