"""The token bucket: what an average of so much a second costs somebody who comes in bursts.

It knows no clock and does not sleep: the time is told, and the answer is how long to wait.
"""


class Bucket:
    """Tokens that come in at `rate` a second, `burst` seconds' worth of them kept at most."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._free_at = now - burst  # when all that was taken has come in

    def take(self, count: int, now: float) -> float:
        """Take so many tokens; how many seconds to wait for them."""
        self._free_at = max(self._free_at, now - self._burst) + count / self._rate
        return max(0.0, self._free_at - now)
