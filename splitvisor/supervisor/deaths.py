"""What is known of a service OS's deaths, and how long to wait before the next start.

One death is a normal event and costs nothing but the start. One that dies again and again would
keep a processor busy with starting it, so from the fourth death within ten seconds on each start
waits twice as long as the one before. Pure: the caller brings the clock.
"""

from collections import deque
from dataclasses import dataclass

WINDOW = 10.0  # seconds in which deaths count as one series
FREE = 3  # deaths within the window that cost no waiting
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Deaths:
    """The deaths of one service OS, all its incarnations."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""
        self._times: deque[float] = deque(maxlen=16)

    def add(self, now: float, how: str) -> float:
        """Record a death at `now` (seconds, monotonic); the delay before the next start."""
        self.count += 1
        self.last = how
        self._times.append(now)
        recent = sum(1 for time in self._times if time > now - WINDOW)
        if recent <= FREE:
            return 0.0
        return float(min(FIRST_DELAY * 2 ** (recent - FREE - 1), LONGEST_DELAY))


@dataclass(slots=True)
class Outage:
    """The moments of one outage, nanoseconds of CLOCK_MONOTONIC; 0 while not reached."""

    noticed: int
    killed: int = 0  # by an operator's order; 0 if it died by itself
    reaped: int = 0
    started: int = 0  # the next incarnation serves
    attached: int = 0  # all devices

    @property
    def total_ms(self) -> float:
        """From the death noticed to all devices attached."""
        return (self.attached - self.noticed) / 1e6

    def steps_ms(self) -> dict[str, float]:
        """How long each step took, in order; noticing took time only if we know of the kill."""
        moments = {
            "noticed": self.noticed,
            "reaped": self.reaped,
            "restarted": self.started,
            "attached": self.attached,
        }
        steps, before = {}, self.killed or self.noticed
        for name, moment in moments.items():
            steps[name] = (moment - before) / 1e6
            before = moment
        return steps
