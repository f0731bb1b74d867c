"""A disk that is not there: it reads as zeros, and what is written to it is gone.

It stores nothing at all, so a guest that trusts it loses its data, and one that checks finds out.
It is for measuring: what a request costs besides the medium, with `latency` for one of known speed.
"""

import time
from dataclasses import dataclass

from drivers.interface import PATIENCE, Ability
from drivers.options import Seconds, Size

SECTOR = 512
_ZEROS = memoryview(bytes(1 << 20))


class NullBlock:
    """The driver `block.null`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """How large it seems, whether it may be written, how long each request takes."""

        size: Size
        readonly: bool = False
        latency: Seconds = Seconds(0.0)

        def __post_init__(self) -> None:
            if self.size <= 0 or self.size % SECTOR:
                raise ValueError(f"size {self.size} is not a positive multiple of {SECTOR}")

    identity = "null"
    forgets = True

    @staticmethod
    def content(options: Options) -> str:
        """See Identified: zeros for ever."""
        return "null"

    def __init__(self, options: Options) -> None:
        self.size = int(options.size)
        self.readonly = options.readonly
        both = Ability.DISCARD | Ability.WRITE_ZEROES
        self.abilities = Ability.NONE if self.readonly else both
        self.patience = PATIENCE + options.latency
        self._latency = options.latency

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._take_time()
        for at in range(0, len(into), len(_ZEROS)):
            piece = into[at : at + len(_ZEROS)]
            piece[:] = _ZEROS[: len(piece)]

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver, and forget it."""
        self._take_time()

    def flush(self) -> None:
        """See BlockDriver."""
        self._take_time()

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        self._take_time()

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self._take_time()

    def close(self) -> None:
        """See Driver."""

    def _take_time(self) -> None:
        if self._latency:
            time.sleep(self._latency)
