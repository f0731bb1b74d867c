"""A disk on two or more others that hold the same: one that fails is put out, the guest goes on.

Writes go to all children that are good, reads come from the first of them. A child that fails a
request is out; the guest sees an error only if there is none left that does not. Who is good is
remembered in a state file, durably, before a write is completed that not all have got, so that a
stale child is never read, by no later incarnation either. A child that is out, or could not be
opened, is tried again every `retry` and brought up to date in the background (mirror_resync.py).

What holds when somebody dies: a write that was under way may be on some children only. The core
replays it, which makes them equal. After a loss of power there is no replay: the state file knows
which regions were being written, and there the first good child is copied to the others.

The first good child of a new mirror is the first one; the others begin as out. A child is known by
its spec: another disk under the same spec is taken for the same, unless the child is out at the
time. Who removes the state file says that the first child has it all.

The mirror is as slow as its slowest child, and waits for it as long as that one waits for itself:
give a child of `nbd` a short `timeout`. Not done: reading from several children, repair of single
bad sectors, and finding out which child is right when good ones differ without an error.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers import mirror_state
from drivers.filter import abilities_of, block_size_of, close_all, patience_of
from drivers.interface import Ability, Child, Claim, DriverError, MediumError, UnsupportedError
from drivers.mirror_legs import Leg, Legs
from drivers.mirror_resync import Resync
from drivers.options import Seconds
from drivers.zeros import put_zeros

TIDY = 5.0  # seconds between two looks through the marks
MAX_CHILDREN = 16


class MirrorBlock:
    """The driver `block.mirror`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The disks, and where to remember which are good: on none of them."""

        children: tuple[Child, ...]
        state: Path
        retry: Seconds = Seconds(5.0)  # until a child that is out is tried again

        def __post_init__(self) -> None:
            specs = [child.spec for child in self.children]
            if not 2 <= len(specs) <= MAX_CHILDREN:
                raise ValueError(
                    f"{len(specs)} children: give 2 to {MAX_CHILDREN}, as in "
                    "children=((file:path=a.img),(file:path=b.img))"
                )
            if len(set(specs)) < len(specs):
                raise ValueError("a child is there twice: take one away")
            if sum(len(spec.encode()) for spec in specs) > mirror_state.MAX_NAMES:
                raise ValueError(f"the children's specs have more than {mirror_state.MAX_NAMES} B")
            if self.retry <= 0:
                raise ValueError("retry must be more than 0s, for example 5s")

    readonly = False

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        children = [claim for child in options.children for claim in child.claims()]
        return [*children, Claim(options.state, exclusive=True)]

    @staticmethod
    def content(options: Options) -> str:
        """See Identified."""
        words = [child.content() for child in options.children]
        state = os.path.realpath(options.state)  # it tells which of them count
        return f"mirror({state},{','.join(words)})" if all(words) else ""

    def __init__(self, options: Options) -> None:
        self._path = options.state
        self._retry = float(options.retry)
        self.identity = options.state.name.encode("ascii", "replace").decode()[:20]
        self._all = [Leg(child) for child in options.children]
        self._state: mirror_state.State | None = None
        self._resync: Resync | None = None
        self._tidied = 0.0
        try:
            with ThreadPoolExecutor(len(self._all)) as pool:  # one that is away takes its time
                list(pool.map(Leg.open, self._all))
            self._check(opening=True)
        except BaseException:
            close_all(self._all)
            raise

    def begin(self) -> None:
        """See Beginning. What could not be opened before is tried once more, but for what is known
        to be out: that is brought back later.
        """
        known = mirror_state.read(self._path)
        for leg in self._all:
            if known is None or known.children.get(leg.name, True):
                leg.begin()
        self._check()
        state = mirror_state.State(self._path, self.size, self._new())
        self._state = state
        self._legs = Legs(self._path, self._all, state)
        for leg in self._all:
            remembered = state.record.children.get(leg.name, False)
            leg.good = remembered and leg.driver is not None
            if not leg.good:
                self._legs.tell(leg, f"is out: {leg.why or 'it has to be brought up to date'}")
        if {leg.name: leg.good for leg in self._all} != state.record.children:
            self._save()
        if len(self._legs.good) > 1:
            self._legs.pending.update(state.marked)
        self._resync = Resync(self._legs, self.size, state.region, self._retry)

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._legs.read(offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self._legs.change(offset, len(data), lambda disk: disk.write(offset, data))

    def flush(self) -> None:
        """See BlockDriver."""
        now = time.monotonic()
        if now - self._tidied < TIDY:
            self._legs.flush()
        else:
            self._tidied = now
            self._legs.tidy()

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        self._legs.change(offset, length, lambda disk: _discard(disk, offset, length))

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self._legs.change(offset, length, lambda disk: put_zeros(disk, offset, length, unmap))

    def close(self) -> None:
        """See Driver."""
        if self._resync:
            self._resync.end()
        try:
            close_all(self._all)
        finally:
            if self._state:
                self._state.close()

    def _new(self) -> dict[str, bool]:
        """The children of a mirror that never was."""
        return {leg.name: leg is self._all[0] for leg in self._all}

    def _check(self, opening: bool = False) -> None:
        """What the guest is to find; DriverError if what is open cannot be served."""
        known = mirror_state.read(self._path)
        children = known.children if known else self._new()
        good = [leg for leg in self._all if children.get(leg.name)]
        if not good:
            raise DriverError(
                f"mirror state {self._path} knows none of the children as good: name those it "
                f"knows ({', '.join(children)}), or remove it to begin anew with the first child"
            )
        first = next((leg for leg in good if leg.driver), None)
        if first is None:
            raise DriverError(f"mirror {self._path} has no good child: {good[0].why}")
        for leg in self._all:
            if known is None or children.get(leg.name, True):  # not of those that are out
                self._check_leg(leg, first, known is None and opening)
        self._describe(first)

    def _check_leg(self, leg: Leg, first: Leg, must: bool) -> None:
        if leg.driver is None:
            if must:
                raise DriverError(leg.why)
            return
        if leg.driver.readonly:
            raise DriverError(f"child {leg.name} is read-only: a mirror writes to all of them")
        if leg.driver.size != first.driver.size:
            raise DriverError(
                f"child {first.name} has {first.driver.size} bytes, and {leg.name} has "
                f"{leg.driver.size}: make them equal"
            )

    def _describe(self, first: Leg) -> None:
        drivers = [leg.driver for leg in self._all if leg.driver]
        self.size: int = first.driver.size
        self.block_size = max(map(block_size_of, drivers))
        self.abilities = _common(drivers)
        each = [patience_of(driver) for driver in drivers]
        known = [one for one in each if one is not None]
        # A request may wait for each child, and for a piece of catching up.
        self.patience = 3 * sum(known) if len(known) == len(self._all) else None

    def _save(self) -> None:
        try:
            self._legs.save()
        except MediumError as error:
            raise DriverError(str(error)) from None


def _common(drivers: list[Any]) -> Ability:
    """Discarding is a hint, zeros can be written: one that can is enough."""
    found = Ability.NONE
    for driver in drivers:
        found |= abilities_of(driver)
    return found & (Ability.DISCARD | Ability.WRITE_ZEROES)


def _discard(disk: Any, offset: int, length: int) -> None:
    if Ability.DISCARD in abilities_of(disk):
        try:
            disk.discard(offset, length)
        except UnsupportedError:
            return
