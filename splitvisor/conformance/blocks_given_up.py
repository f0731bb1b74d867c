"""What is demanded of disks that discard and write zeros, and of all when the medium is gone."""

from collections.abc import Callable
from typing import Any

from drivers.interface import Ability, MediumError, UnsupportedError
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.files import saved
from splitvisor.conformance.medium import SECTOR, able, get, pattern, put, region_of, same
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import apart

EDGES = ((SECTOR, SECTOR), (3 * SECTOR, 13 * SECTOR), (0, 65536), (7 * SECTOR, (1 << 20) + SECTOR))


@check("block")
def writes_zeros(subject: Subject) -> None:
    """After `write_zeroes`, with `unmap` and without, there are zeros, and what is beside them
    stays.
    """
    able(subject, Ability.WRITE_ZEROES)
    with subject.serving() as disk:
        for unmap in (False, True):
            for offset, length in _fitting(disk):
                data = pattern(offset + length + SECTOR, 20)
                put(disk, 0, data)
                disk.write_zeroes(offset, length, unmap)
                wanted = data[:offset] + bytes(length) + data[offset + length :]
                when = f"after {length} zeros at {offset} (unmap={unmap})"
                same(get(disk, 0, len(data)), wanted, 0, when)


@check("block")
def discards(subject: Subject) -> None:
    """What was discarded is what was there, or zeros, and what is beside it stays."""
    able(subject, Ability.DISCARD)
    with subject.serving() as disk:
        for offset, length in _fitting(disk):
            data = pattern(offset + length + SECTOR, 21)
            put(disk, 0, data)
            disk.discard(offset, length)
            found = get(disk, 0, len(data))
            for at in range(offset, offset + length, SECTOR):
                demand(
                    found[at : at + SECTOR] in (data[at : at + SECTOR], bytes(SECTOR)),
                    f"the discarded sector {at // SECTOR} is neither what was there nor zeros",
                )
            beside = found[:offset] + bytes(length) + found[offset + length :]
            wanted = data[:offset] + bytes(length) + data[offset + length :]
            same(beside, wanted, 0, f"after a discard of {length} bytes at {offset}")


def _fitting(disk: Any) -> list[tuple[int, int]]:
    room = region_of(disk)
    return [(offset, length) for offset, length in EDGES if offset + length + SECTOR <= room]


@check("block")
def fails_as_a_medium(subject: Subject) -> None:
    """When its files are cut off under it, requests fail with MediumError in one line, or do not;
    nothing else happens.
    """
    with saved(subject) as files:
        if not files:
            raise InapplicableError("it writes to no file that could be cut off")

        def work() -> None:
            with subject.serving() as disk:
                for file in files:
                    with file.open("r+b") as opened:
                        opened.truncate(0)
                region = min(region_of(disk), 1 << 20)
                for request in _requests(disk, region):
                    _failing(request)

        apart(work)


def _requests(disk: Any, region: int) -> list[Callable[[], object]]:
    return [
        lambda: get(disk, disk.size - SECTOR, SECTOR),
        lambda: get(disk, 0, region),
        lambda: put(disk, 0, pattern(SECTOR, 22)),
        disk.flush,
        lambda: get(disk, region // 2 // SECTOR * SECTOR, SECTOR),
    ]


def _failing(request: Callable[[], object]) -> None:
    try:
        request()
    except (MediumError, UnsupportedError) as error:
        demand(str(error) and "\n" not in str(error), f"not one line: {error!r}")
