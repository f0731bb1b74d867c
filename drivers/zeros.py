"""Zeros: by the disk's own way if it has one, or written by hand."""

from collections.abc import Callable
from typing import Any

from drivers.filter import abilities_of
from drivers.interface import Ability, UnsupportedError

_ZEROS = memoryview(bytes(1 << 20))


def put_zeros(disk: Any, offset: int, length: int, unmap: bool) -> None:
    """See Zeroing, for a disk that may not be."""
    try:
        if Ability.WRITE_ZEROES in abilities_of(disk):
            disk.write_zeroes(offset, length, unmap)
            return
    except UnsupportedError:
        pass
    write_zeros(disk.write, offset, length)


def write_zeros(write: Callable[[int, memoryview], None], offset: int, length: int) -> None:
    """As many calls of `write` (offset, data) as it takes; what it raises ends them."""
    end = offset + length
    for at in range(offset, end, len(_ZEROS)):
        write(at, _ZEROS[: end - at])
