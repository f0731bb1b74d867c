"""What is demanded of a disk that reports progress and has a `target`: of a copy that is made while
the disk is used. What it serves is held against the contract of all disks.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drivers import registry
from drivers.block_migrate import MigrateBlock
from drivers.filter import begin
from drivers.interface import Ability, DriverError, Progress
from drivers.spec import parse, several
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.medium import SECTOR, get, one_of, pattern, put, region_of, same
from splitvisor.conformance.subject import Subject, is_child, option_types
from splitvisor.conformance.victims import Trap, apart, killed

LARGEST = 64 << 20  # bytes of a disk that is copied here
PIECE = 1 << 20
PATIENCE = 60.0  # seconds for a copy
PACE = 0.001  # seconds between two looks at it, which it has for itself
POINTS = 8  # at which one is cut off
COUNTS = 3  # of the steps that one has, which is more or less; the fewest are taken
AFTER = 20  # writes behind its completion


@check("block")
def copies_what_is_written_meanwhile(subject: Subject) -> None:
    """When a copy says that it is complete, target and source have the same bytes, whatever was
    written while it was made and since.
    """
    _begun(subject)
    chance = random.Random(31)
    with subject.serving() as disk:
        region = region_of(disk)
        held = bytearray(get(disk, 0, region))
        number = 0
        for _ in _until_complete(disk):
            number += 1
            _change(disk, held, number, chance)
        for _ in range(AFTER):
            number += 1
            _change(disk, held, number, chance)
        disk.flush()
        demand(disk.progress().complete, f"what follows a copy ends it: {disk.progress()}")
        same(get(disk, 0, region), bytes(held), 0, "during a copy")
    _equal(subject, f"with {number} changes meanwhile")


@check("block")
def a_copy_may_be_cut_off_anywhere(subject: Subject) -> None:
    """A process that is killed at any time of a copy leaves each sector of the disk old or new, and
    the next one makes the copy whole.
    """
    _begun(subject)
    with subject.serving() as disk:
        region = min(region_of(disk), 1 << 19)
        choices = get(disk, 0, region), pattern(region, 33), pattern(region, 34)
    steps = min(
        int(apart(lambda: str(_copied(subject, Trap(0), choices)).encode())) for _ in range(COUNTS)
    )
    for n in range(POINTS):
        point = 1 + steps * n // POINTS

        def work(point: int = point) -> None:
            with _opened(subject, "target") as target:
                put(target, 0, pattern(region_of(target), 42))
            _copied(subject, Trap(point), choices)

        killed(work)
        when = f"after a copy cut off at step {point} of {steps}"

        def look(when: str = when) -> None:
            with subject.serving() as disk:
                one_of(get(disk, 0, region), choices, 0, when)
                for _ in _until_complete(disk):
                    pass
            _equal(subject, f"{when}, and made whole,")

        apart(look)


@check("block")
def a_pivot_begins_behind_a_whole_copy(subject: Subject) -> None:
    """`block.pivot` serves from the target what was on the disk when the copy is complete, and
    refuses to begin when it is not.
    """
    _begun(subject)
    driver = registry.find(subject.kind, parse(subject.spec).driver)
    if not issubclass(driver, MigrateBlock):
        raise InapplicableError("it is not block.migrate")
    pivot = subject.other(f"pivot:child=({_child(subject, 'target')})")
    with pivot.opened() as standby:
        disk = subject.open()
        begin(disk)
        disk.close()
        if not disk.progress().complete:
            _does_not_begin(standby)
    with pivot.opened() as standby:
        with subject.serving() as disk:
            for _ in _until_complete(disk):
                pass
            put(disk, SECTOR, pattern(SECTOR, 35))
            wanted = get(disk, 0, region_of(disk))
        begin(standby)
        same(get(standby, 0, len(wanted)), wanted, 0, "at a pivot")
    _equal(subject, "after a pivot")


def _does_not_begin(standby: Any) -> None:
    try:
        begin(standby)
    except DriverError as error:
        demand("\n" not in str(error), f"not one line: {error}")
    else:
        demand(False, "a pivot begins though the copy is not complete")


def _begun(subject: Subject) -> None:
    """Other bytes on the target than on the source; InapplicableError if it is no copy."""
    driver = registry.find(subject.kind, parse(subject.spec).driver)
    types = option_types(driver)
    if not hasattr(driver, "progress") or not is_child(types.get("target")):
        raise InapplicableError("it makes no copy")
    for number, name in enumerate(("source", "target")):
        with _opened(subject, name) as disk:
            if disk.size > LARGEST:
                raise InapplicableError(f"{disk.size} bytes take long to copy: give {LARGEST}")
            put(disk, 0, pattern(region_of(disk), 40 + number))


def _child(subject: Subject, name: str) -> str:
    return several(str(parse(subject.spec).options[name]), name)[0]


@contextmanager
def _opened(subject: Subject, name: str) -> Iterator[Any]:
    """What is below the copy, by itself."""
    with subject.other(_child(subject, name)).serving() as disk:
        yield disk


def _equal(subject: Subject, when: str) -> None:
    with _opened(subject, "source") as source, _opened(subject, "target") as target:
        for at in range(0, source.size, PIECE):
            length = min(PIECE, source.size - at)
            found, wanted = get(target, at, length), get(source, at, length)
            same(found, wanted, at, f"{when} the target is not the source")


def _until_complete(disk: Any) -> Iterator[None]:
    """Again and again until its copy is complete; ViolationError if it does not come to that."""
    end = time.monotonic() + PATIENCE
    while True:
        progress = disk.progress()
        fits = isinstance(progress, Progress) and 0 <= progress.done <= progress.total
        demand(fits, f"progress {progress!r} is none")
        demand(not progress.problem, f"the copy has ended: {progress.problem}")
        if progress.complete:
            return
        demand(time.monotonic() < end, f"a copy is not complete after {PATIENCE:.0f} s")
        time.sleep(PACE)
        yield


def _change(disk: Any, held: bytearray, number: int, chance: random.Random) -> None:
    length = min(SECTOR * chance.randint(1, 256), len(held))
    offset = chance.randrange(0, len(held) - length + 1, SECTOR)
    if Ability.WRITE_ZEROES in disk.abilities and number % 4 == 0:
        disk.write_zeroes(offset, length, True)
        held[offset : offset + length] = bytes(length)
        return
    if Ability.DISCARD in disk.abilities and number % 4 == 2:
        disk.discard(offset, length)
        held[offset : offset + length] = get(disk, offset, length)
        return
    data = chance.randbytes(length)
    put(disk, offset, data)
    held[offset : offset + length] = data


def _copied(subject: Subject, trap: Trap, choices: tuple[bytes, ...]) -> int:
    """In a process that may die: a whole copy under writes; how many steps that has."""
    chance = random.Random(36)
    disk = subject.open()
    with trap.armed():
        begin(disk)
        for _ in _until_complete(disk):
            _write(disk, choices, chance)
        for _ in range(AFTER):
            _write(disk, choices, chance)
    disk.close()
    return trap.count


def _write(disk: Any, choices: tuple[bytes, ...], chance: random.Random) -> None:
    data = chance.choice(choices)
    length = min(SECTOR * chance.randint(1, 64), len(data))
    offset = chance.randrange(0, len(data) - length + 1, SECTOR)
    put(disk, offset, data[offset : offset + length])
