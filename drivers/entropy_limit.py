"""A source of entropy that gives so many bytes a second at most, so that one guest leaves others
some, or to see what software does that has to wait for its random numbers.

After a pause what came in meanwhile is given at once, up to `burst` seconds' worth of it; from then
on each request waits. Nobody is given more than that much at a time, so that a wait is short and a
service OS can be replaced between two of them; a guest that wants more asks again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.bucket import Bucket
from drivers.filter import begin, patience_of
from drivers.interface import Child, Claim
from drivers.options import Seconds, Size


class LimitEntropy:
    """The driver `entropy.limit`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The limit, and whose bytes they are."""

        child: Child
        bps: Size  # bytes a second
        burst: Seconds = Seconds(0.1)

        def __post_init__(self) -> None:
            if self.bps <= 0:
                raise ValueError("no bytes a second are none at all: give bps=4K or the like")
            if self.burst <= 0:
                raise ValueError("a burst of no time lets nothing through: give burst=100ms")

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        return options.child.claims()

    def __init__(self, options: Options) -> None:
        self._child = options.child.open()
        worth = max(1, int(options.bps * options.burst))
        self.portion = min(worth, getattr(self._child, "portion", worth))
        patience = patience_of(self._child)
        longest = max(options.burst, 1 / options.bps)  # for a portion, if that is one byte
        self.patience = patience and patience + 2 * longest
        self._bucket = Bucket(options.bps, options.burst, time.monotonic())

    def begin(self) -> None:
        """See Beginning."""
        begin(self._child)

    def fill(self, into: memoryview) -> None:
        """See EntropyDriver."""
        if delay := self._bucket.take(len(into), time.monotonic()):
            time.sleep(delay)
        self._child.fill(into)

    def close(self) -> None:
        """See Driver."""
        self._child.close()
