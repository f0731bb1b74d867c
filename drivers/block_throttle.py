"""A disk that is slower than the one it stands on: so many requests and bytes a second at most.

A token bucket for each limit, filled with time: after a pause a guest may go on at full speed for
`burst`, and from then on each request waits until what it costs has come in. Waiting is sleeping on
the device's own thread, so the other devices of the service OS do not notice.
"""

import time
from dataclasses import dataclass

from drivers.bucket import Bucket
from drivers.filter import Filter
from drivers.interface import Child
from drivers.options import Seconds, Size

LARGEST = 16 << 20  # bytes; a guest whose requests are larger needs a limit that lets them through


def longest_wait(options: "ThrottleBlock.Options") -> float:
    """Seconds that a request of LARGEST bytes waits at most: each waits for its own tokens only."""
    requests = 1 / options.iops if options.iops > 0 else 0.0
    transfer = LARGEST / options.bps if options.bps > 0 else 0.0
    return max(requests, transfer)


class ThrottleBlock(Filter):
    """The driver `block.throttle`. A flush is a request of no bytes."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The limits, of which one must be there."""

        child: Child
        iops: int = 0  # requests a second
        bps: Size = Size(0)  # bytes a second
        burst: Seconds = Seconds(0.1)  # of full speed after a pause

        def __post_init__(self) -> None:
            if self.iops < 0:
                raise ValueError(
                    f"iops {self.iops} is not positive: give iops=500, or leave it out"
                )
            if not self.iops and not self.bps:
                raise ValueError("no limit: give iops=500, bps=10M, or both")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        if self.patience is not None:
            self.patience += longest_wait(options)
        now = time.monotonic()
        self._requests = Bucket(options.iops, options.burst, now) if options.iops > 0 else None
        self._bytes = Bucket(options.bps, options.burst, now) if options.bps > 0 else None

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self._wait(len(into))
        self.child.read(offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self._wait(len(data))
        self.child.write(offset, data)

    def flush(self) -> None:
        """See BlockDriver."""
        self._wait(0)
        self.child.flush()

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        self._wait(0)
        self.child.discard(offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self._wait(0)
        self.child.write_zeroes(offset, length, unmap)

    def _wait(self, size: int) -> None:
        now = time.monotonic()
        requests = self._requests.take(1, now) if self._requests else 0.0
        transfer = self._bytes.take(size, now) if self._bytes else 0.0
        if delay := max(requests, transfer):
            time.sleep(delay)
