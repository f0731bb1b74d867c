"""A clock that is wrong: by so much when the machine starts, and faster or slower from then on.

The moment from which it runs at its own rate is kept in the machine's run directory, so that a
guest sees one clock whichever incarnation of a service OS it asks.
"""

import contextlib
import os
import struct
import time
from dataclasses import dataclass

from drivers.interface import DriverError, Keep
from drivers.options import Shift

START = struct.Struct("<d")  # seconds since 1970 by the host's clock


class SkewedClock:
    """The driver `clock.skewed`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """How wrong it is."""

        keep: Keep
        by: Shift = Shift(0.0)  # ahead of the host's clock, or behind it, when the machine starts
        rate: float = 1.0  # its seconds in one of the host's

        def __post_init__(self) -> None:
            if not 0 <= self.rate <= 1e6:
                raise ValueError(f"rate {self.rate} is none for a clock: give 0 to 1000000")

    def __init__(self, options: Options) -> None:
        self._path = options.keep.path
        self._by = options.by
        self._rate = options.rate
        self._start = time.time()

    def begin(self) -> None:
        """See Beginning: the first incarnation of a machine says when it starts."""
        fresh = self._path.with_name(f"{self._path.name}:new")
        try:
            with contextlib.suppress(FileExistsError):
                fresh.write_bytes(START.pack(time.time()))
                os.link(fresh, self._path)  # whole or not at all, and the first one stays
            fresh.unlink()
            (self._start,) = START.unpack(self._path.read_bytes())
        except (OSError, struct.error) as error:
            raise DriverError(
                f"the start of a skewed clock, {self._path}, cannot be kept: {error}; "
                "the machine's run directory must be there and writable"
            ) from None

    def now(self) -> float:
        """See ClockDriver."""
        return self._start + self._by + (time.time() - self._start) * self._rate

    def close(self) -> None:
        """See Driver."""
