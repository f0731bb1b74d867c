"""The children of a mirror while it serves: what goes to which, and what becomes of one that fails.

A child is *good*: it has every write that was ever completed; or it is *out*, and catches up: what
is below its `reach` is as in the good ones, and writes that begin there go to it as well.

One lock is held over each request and each step of catching up, so that a child is used by one
thread at a time, and that no write falls between reading a piece from one child and writing it to
another. A child that is out and has no reach belongs to the thread that brings it back.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.filter import begin
from drivers.interface import Child, DriverError, MediumError, SpecError, UnsupportedError
from drivers.mirror_state import State

FAILURES = (MediumError, UnsupportedError, OSError)
Act = Callable[[Any], None]


class Leg:
    """One child."""

    def __init__(self, child: Child) -> None:
        self.name = child.spec
        self.good = False
        self.reach = 0  # bytes; of one that is not good
        self.why = ""  # it is not open, or out
        self.driver: Any = None
        self._child = child

    def open(self) -> None:
        """If it cannot be, `why` says so; what is wrong with its words is raised."""
        try:
            self.driver = self._child.open()
        except SpecError:
            raise
        except DriverError as error:
            self.why = str(error)

    def begin(self) -> None:
        """As `open`; what is not open is tried once more."""
        if self.driver is None:
            self.open()
        try:
            if self.driver is not None:
                begin(self.driver)
        except DriverError as error:
            self.why = str(error)
            self.close()

    def close(self) -> None:
        """If it is open."""
        driver, self.driver = self.driver, None
        if driver is not None:
            driver.close()


class Legs:
    """All of them, begun, at least one of them good."""

    def __init__(self, path: Path, legs: list[Leg], state: State) -> None:
        self.lock = threading.RLock()
        self.pending: set[int] = set()  # regions where good ones may differ
        self._path = path
        self._legs = legs
        self._state = state
        self._unsaved = False

    @property
    def good(self) -> list[Leg]:
        """In order; the first of them is read from."""
        return [leg for leg in self._legs if leg.good]

    @property
    def out(self) -> list[Leg]:
        """The others."""
        return [leg for leg in self._legs if not leg.good]

    def read(self, offset: int, into: memoryview) -> None:
        """From the first that can; MediumError if none can, and then all stay as they are."""
        failed: list[tuple[Leg, Exception]] = []
        with self.lock:
            for leg in self.good:
                try:
                    leg.driver.read(offset, into)
                except FAILURES as error:
                    failed.append((leg, error))
                else:
                    self._put_out(failed)  # not saved yet: it has missed no write
                    return
        raise _worst(failed)

    def change(self, offset: int, length: int, act: Act) -> None:
        """`act` on all that are to have it; MediumError if no good one could."""
        with self.lock:
            regions = self._state.regions(offset, length)
            if len(self.good) > 1 or self._unsaved:  # the file says that they are more
                self._saving(lambda: self._state.mark(regions))
            try:
                self._all(act, [leg for leg in self._legs if leg.good or offset < leg.reach])
            except FAILURES:
                self.pending.update(regions)
                for leg in self.out:
                    leg.reach = 0
                raise

    def flush(self) -> None:
        """All of them."""
        with self.lock:
            self._all(_flush, [leg for leg in self._legs if leg.good or leg.reach])

    def tidy(self) -> None:
        """Flush, and forget where nothing was written since the last time."""
        with self.lock:
            self.flush()
            self._saving(lambda: self._state.unmark(self.pending))

    def promote(self, leg: Leg) -> None:
        """It has caught up. All are flushed: where only one was good, nothing was marked."""
        with self.lock:
            self.flush()
            if not leg.reach:
                return  # it could not, and that was told
            leg.good = True
            try:
                self.save()
            except MediumError:
                leg.good = False
                raise
            leg.reach, leg.why = 0, ""
            self.tell(leg, "is good")

    def save(self) -> None:
        """Who is good; on return it is durable."""
        children = {leg.name: leg.good for leg in self._legs}
        self._saving(lambda: self._state.save(children))
        self._unsaved = False

    def tell(self, leg: Leg, what: str) -> None:
        """On standard error, for the operator."""
        text = f"service OS: mirror {self._path}: child {leg.name} {what}"
        print(" ".join(text.split()), file=sys.stderr, flush=True)

    def drop(self, leg: Leg, error: Exception) -> None:
        """Put out one that failed while the good ones were compared; saved with the next write."""
        with self.lock:
            self._put_out([(leg, error)])

    def _all(self, act: Act, legs: list[Leg]) -> None:
        failed: list[tuple[Leg, Exception]] = []
        done = False
        for leg in legs:
            try:
                act(leg.driver)
            except FAILURES as error:
                failed.append((leg, error))
            else:
                done = done or leg.good
        if not done:
            raise _worst([one for one in failed if one[0].good])
        self._put_out(failed)
        if self._unsaved:
            self.save()

    def _put_out(self, failed: list[tuple[Leg, Exception]]) -> None:
        for leg, error in failed:
            self._unsaved = self._unsaved or leg.good
            leg.good, leg.reach, leg.why = False, 0, str(error)
            self.tell(leg, f"is out: {error}")

    def _saving(self, save: Callable[[], None]) -> None:
        try:
            save()
        except OSError as error:
            raise MediumError(
                f"mirror state {self._path} cannot be written: {error.strerror}"
            ) from error


def _flush(driver: Any) -> None:
    driver.flush()


def _worst(failed: list[tuple[Leg, Exception]]) -> Exception:
    """One error for all: what the last one said, which nobody stands in for."""
    return failed[-1][1]
