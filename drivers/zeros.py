"""Zeros written by hand, where nothing below can put them there in a quicker way."""

from collections.abc import Callable

_ZEROS = memoryview(bytes(1 << 20))


def write_zeros(write: Callable[[int, memoryview], None], offset: int, length: int) -> None:
    """As many calls of `write` (offset, data) as it takes; what it raises ends them."""
    end = offset + length
    for at in range(offset, end, len(_ZEROS)):
        write(at, _ZEROS[: end - at])
