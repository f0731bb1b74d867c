"""What checks of disks share: patterns, and reading and writing with plain bytes."""

import random
from typing import Any

from drivers.interface import Ability
from splitvisor.conformance.contract import InapplicableError, demand
from splitvisor.conformance.subject import Subject

SECTOR = 512
REGION = 4 << 20  # bytes at the start of a disk that checks write to, and little at its end


def pattern(length: int, seed: int) -> bytes:
    """Bytes of which no two sectors are alike."""
    return random.Random(seed).randbytes(length)


def get(disk: Any, offset: int, length: int) -> bytes:
    """What stands there."""
    into = bytearray(length)
    disk.read(offset, memoryview(into))
    return bytes(into)


def put(disk: Any, offset: int, data: bytes) -> None:
    """Write."""
    disk.write(offset, memoryview(data))


def region_of(disk: Any) -> int:
    """How much of a disk is written to."""
    return min(int(disk.size), REGION)


def writable(subject: Subject) -> None:
    """InapplicableError for a disk that cannot be written, or that stores nothing."""
    with subject.opened() as disk:
        if disk.readonly:
            raise InapplicableError("the disk is read-only")
        storing(disk)


def storing(disk: Any) -> None:
    """InapplicableError for a disk that says that it stores nothing."""
    if getattr(disk, "forgets", False):
        raise InapplicableError("the disk says that it stores nothing")


def able(subject: Subject, ability: Ability) -> None:
    """InapplicableError for a disk without the ability."""
    writable(subject)
    with subject.serving() as disk:
        if ability not in getattr(disk, "abilities", Ability.NONE):
            raise InapplicableError(f"the disk has no ability {ability.name}")


def same(found: bytes, wanted: bytes, offset: int, when: str) -> None:
    """ViolationError that names the first sector that differs."""
    if found == wanted:
        return
    first = next(
        at
        for at in range(0, len(wanted), SECTOR)
        if found[at : at + SECTOR] != wanted[at : at + SECTOR]
    )
    demand(False, f"{when}, sector {(offset + first) // SECTOR} has other bytes than were written")


def one_of(found: bytes, choices: tuple[bytes, ...], offset: int, when: str) -> None:
    """ViolationError unless each sector is that of one of the choices."""
    for at in range(0, len(found), SECTOR):
        sector = found[at : at + SECTOR]
        demand(
            any(sector == choice[at : at + SECTOR] for choice in choices),
            f"{when}, sector {(offset + at) // SECTOR} is neither as before nor as after",
        )
