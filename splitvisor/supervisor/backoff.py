"""How long to wait before the next try, when one after the other fails.

One failure is a normal event and costs nothing but the next try. Failures in a row would keep a
processor busy, so from the fourth on each waits twice as long as the one before. A success ends
the row. Pure; times are nanoseconds.
"""

FREE = 3  # failures in a row that cost no waiting
FIRST_DELAY = 100_000_000
LONGEST_DELAY = 5_000_000_000
_DOUBLINGS = 16  # more than lead from the first delay to the longest


class Backoff:
    """Failures in a row of one thing that is tried again and again; `free` of them cost nothing."""

    def __init__(self, free: int = FREE) -> None:
        self.row = 0
        self._free = free

    def failed(self) -> int:
        """Count a failure; how long to wait before the next try."""
        self.row += 1
        if self.row <= self._free:
            return 0
        doublings = min(self.row - self._free - 1, _DOUBLINGS)
        return min(FIRST_DELAY << doublings, LONGEST_DELAY)

    def succeeded(self) -> None:
        """The row has ended."""
        self.row = 0
