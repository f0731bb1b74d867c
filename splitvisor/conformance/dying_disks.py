"""What is demanded of a disk whose process dies."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from drivers.filter import begin
from drivers.interface import Ability
from splitvisor.conformance.contract import check, demand
from splitvisor.conformance.medium import (
    SECTOR,
    able,
    get,
    one_of,
    pattern,
    put,
    region_of,
    same,
    writable,
)
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import Trap, Victim, apart, die, ending, killed

POINTS = 24  # at which one request is cut off, if it has so many
STRIKES = 8  # blind ones, at a disk that is busy
ROUNDS = 2  # of writes before a strike
LONGEST = 0.01  # seconds until a strike
APART = 1 << 17  # bytes between two places that were never written to, if that is so
EDGE = 3 * SECTOR  # where a request begins and ends beside blocks and pages
LENGTH = 40 * SECTOR


@check("block")
def survives_sigkill(subject: Subject) -> None:
    """What `write` has returned from is there when the process is killed in that moment, without
    any flush; so is all before it.
    """
    writable(subject)
    for count in (1, 2, 9):
        pieces = [(n * 5 * SECTOR, pattern(6 * SECTOR, 100 * count + n)) for n in range(count)]

        def work(pieces: list[tuple[int, bytes]] = pieces) -> None:
            disk = _serving(subject)
            for offset, data in pieces:
                put(disk, offset, data)

        killed(work)
        wanted = bytearray(pieces[-1][0] + 6 * SECTOR)
        for offset, data in pieces:
            wanted[offset : offset + len(data)] = data
        with subject.serving() as disk:
            when = f"after SIGKILL behind write {count}"
            same(get(disk, 0, len(wanted)), bytes(wanted), 0, when)


@check("block")
def zeros_survive_sigkill(subject: Subject) -> None:
    """Zeros that `write_zeroes` has returned from are there when the process is killed in that
    moment, with `unmap` and without.
    """
    able(subject, Ability.WRITE_ZEROES)
    for unmap in (False, True):
        with subject.serving() as disk:
            data = pattern(2 * EDGE + LENGTH, 11)
            put(disk, 0, data)

        def work(unmap: bool = unmap) -> None:
            _serving(subject).write_zeroes(EDGE, LENGTH, unmap)

        killed(work)
        with subject.serving() as disk:
            wanted = data[:EDGE] + bytes(LENGTH) + data[-EDGE:]
            same(
                get(disk, 0, len(wanted)), wanted, 0, f"after SIGKILL behind zeros (unmap={unmap})"
            )


@check("block")
def a_standby_takes_over_from_the_dead(subject: Subject) -> None:
    """One that was opened while another served finds, from `begin` on, all that the other wrote
    before it was killed.
    """
    writable(subject)
    data = pattern(16 * SECTOR, 12)

    def serve(victim: Victim) -> None:
        disk = _serving(subject)
        put(disk, 0, bytes(len(data)))
        victim.say(b"serving")
        time.sleep(0.05)
        put(disk, 0, data)
        die()

    first = Victim(serve)
    demand(first.heard() == b"serving", "the first incarnation does not serve")
    with subject.opened() as second:
        status = first.wait()
        demand(status == -signal.SIGKILL, f"the first incarnation ended with {status}")
        begin(second)
        same(get(second, 0, len(data)), data, 0, "after a takeover from the dead")


@check("block")
def a_write_may_be_cut_off_anywhere(subject: Subject) -> None:
    """A process that is killed between any two steps of a write leaves each sector of it old or
    new, and the others alone; and the replay makes it whole.
    """
    writable(subject)
    old, new = pattern(2 * EDGE + LENGTH, 13), pattern(LENGTH, 14)

    def request(disk: Any) -> None:
        put(disk, EDGE, new)

    _cut_off_everywhere(subject, request, old, new, "a write")


@check("block")
def zeros_may_be_cut_off_anywhere(subject: Subject) -> None:
    """A process that is killed between any two steps of `write_zeroes` leaves each sector old or
    zeros, and the others alone; and the replay makes it whole.
    """
    able(subject, Ability.WRITE_ZEROES)
    old = pattern(2 * EDGE + LENGTH, 15)

    def request(disk: Any) -> None:
        disk.write_zeroes(EDGE, LENGTH, True)

    _cut_off_everywhere(subject, request, old, bytes(LENGTH), "zeros")


@check("block")
def a_first_write_may_be_cut_off_anywhere(subject: Subject) -> None:
    """The same where nothing was ever written, near the end of the disk."""
    writable(subject)
    with subject.serving() as disk:
        size = disk.size
    span = 2 * EDGE + LENGTH
    count = min(size // 2 // APART, POINTS // 2)
    for number in range(count):
        start = size - (number + 1) * APART
        with subject.serving() as disk:
            old = get(disk, start, span)
        new = pattern(LENGTH, 500 + number)

        def request(disk: Any, start: int = start, new: bytes = new) -> None:
            put(disk, start + EDGE, new)

        steps = int(_counted(subject, partial(put, offset=EDGE, data=new)))
        _cut(subject, request, 1 + steps * number // count)
        with subject.serving() as disk:
            choices = (old, old[:EDGE] + new + old[-EDGE:])
            one_of(
                get(disk, start, span), choices, start, f"after a first write cut off at {number}"
            )


@check("block")
def may_be_killed_while_busy(subject: Subject) -> None:
    """A process that is killed at any time under load leaves each sector as one of the writes to
    it that were under way.
    """
    writable(subject)
    with subject.serving() as disk:
        size = min(region_of(disk), 1 << 19)
    choices = pattern(size, 16), pattern(size, 17)
    chance = random.Random(18)

    def serve(victim: Victim) -> None:
        disk = _serving(subject)
        while True:
            for choice in choices:
                put(disk, 0, choice)
                victim.say(b".")

    for strike in range(STRIKES):
        victim = Victim(serve)
        heard = 0
        while heard < ROUNDS and (said := victim.heard()):
            heard += len(said)
        time.sleep(chance.random() * LONGEST)
        victim.kill()
        status = victim.wait()
        alive = heard >= ROUNDS and status == -signal.SIGKILL
        demand(alive, f"a busy disk ended by itself: {ending(status)}")
        with subject.serving() as disk:
            one_of(get(disk, 0, size), choices, 0, f"after strike {strike + 1} at a busy disk")


def _serving(subject: Subject) -> Any:
    """In a process that will die: nobody closes it."""
    disk = subject.open()
    begin(disk)
    return disk


def _cut_off_everywhere(
    subject: Subject, request: Callable[[Any], None], old: bytes, new: bytes, what: str
) -> None:
    """`old` is the state before, from the start of the disk; `new` what comes to stand at EDGE."""
    after = old[:EDGE] + new + old[-EDGE:]
    with _prepared(subject, old):
        pass
    steps = int(_counted(subject, request))
    points = sorted({1 + steps * n // POINTS for n in range(POINTS)})
    for point in points:
        with _prepared(subject, old):
            pass
        _cut(subject, request, point)
        when = f"after {what} cut off at step {point} of {steps}"
        with subject.serving() as disk:
            one_of(get(disk, 0, len(old)), (old, after), 0, when)
            request(disk)
            same(get(disk, 0, len(old)), after, 0, f"{when}, and replayed")


@contextmanager
def _prepared(subject: Subject, old: bytes) -> Iterator[Any]:
    with subject.serving() as disk:
        put(disk, 0, old)
        yield disk


def _counted(subject: Subject, request: Callable[[Any], None]) -> bytes:
    """How many steps a request has."""

    def work() -> bytes:
        trap = Trap(0)
        with subject.serving() as disk, trap.armed():
            request(disk)
        return str(trap.count).encode()

    return apart(work)


def _cut(subject: Subject, request: Callable[[Any], None], point: int) -> None:
    """Kill a process at a step of a request, or right behind it if it has not so many this time."""

    def work() -> None:
        trap = Trap(point)
        disk = _serving(subject)
        with trap.armed():
            request(disk)

    killed(work)
