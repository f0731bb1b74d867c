"""The host's clock, as it is kept right by whoever keeps it (NTP, an operator, nobody)."""

import time
from dataclasses import dataclass


class SystemClock:
    """The driver `clock.system`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        pass

    def now(self) -> float:
        """See ClockDriver."""
        return time.time()

    def close(self) -> None:
        """See Driver."""
