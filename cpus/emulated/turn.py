"""A lock that is handed over in order of arrival.

Python's locks let the thread that has just released one take it again at once; vCPUs that share
one would starve each other.
"""

import threading
from collections import deque


class Turn:
    """Mutual exclusion, first come first served."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._busy = False
        self._waiting: deque[threading.Lock] = deque()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._guard:
            if not self._busy:
                self._busy = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def give(self) -> None:
        """Let the next one in."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._busy = False

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give()
