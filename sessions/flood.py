"""When a service OS says too much that leads nowhere.

Whatever it says costs time of the interpreter that all guests share. What completes requests is
bounded by what guests ask for. The rest an honest one says seldom: that a configuration changed, or
that input waits, in at most as many pieces as a console or UART keeps bytes of it, which is 4096.
"""

import time

from microhypervisor.errors import PeerFault

MOST = 5000  # messages, and completions in them, that complete nothing
WITHIN_S = 10.0  # a configuration that changes for days is no flood


class Flood:
    """Of one stream: what came in vain since a request was completed, or for WITHIN_S."""

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self._answered = -1

    def add(self, count: int, answered: int) -> None:
        """So much came in vain when so many requests were answered; PeerFault if it is a flood."""
        now = time.monotonic()
        if answered != self._answered or now - self._since > WITHIN_S:
            self._count, self._since, self._answered = 0, now, answered
        self._count += count
        if self._count > MOST:
            raise PeerFault(
                f"a flood: the service OS said more than {MOST} things in {WITHIN_S:g} s that"
                " complete no request"
            )
