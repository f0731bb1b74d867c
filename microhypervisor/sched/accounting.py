"""Where a vCPU's time went: states with times, switches, and how long wake-ups took.

Pure: the clock is the caller's. Every nanosecond since the account was opened is booked to exactly
one state, so the times add up to its age; what a guest calls steal is its time READY.
"""

from enum import Enum

LATENCIES = 24  # the last bucket takes what is longer than 2^22 us, four seconds


class State(Enum):
    """Of a vCPU, as the scheduler sees it."""

    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"  # or waiting for its start-up interrupt
    BLOCKED = "blocked"  # waits for the answer to a port access
    PAUSED = "paused"
    ENDED = "ended"


class Account:
    """Of one vCPU; times in nanoseconds."""

    def __init__(self, now: int) -> None:
        self.state = State.PAUSED
        self.switches = 0
        self.wakes = 0
        self.wake_latency = [0] * LATENCIES  # n: up to 2^n microseconds
        self._since = now
        self._spent = dict.fromkeys(State, 0)
        self._woken: int | None = None

    def move(self, state: State, now: int) -> None:
        """From now on it is in that state."""
        if self.state is State.HALTED and state is State.READY:
            self._woken = now
        self._spent[self.state] += now - self._since
        self.state, self._since = state, now
        self.switches += state is State.RUNNING

    def entered(self, now: int) -> None:
        """Its thread is about to run guest code: the end of a wake-up, if it was one."""
        if self._woken is not None:
            microseconds = -(-(now - self._woken) // 1000)
            self.wakes += 1
            self.wake_latency[min(LATENCIES - 1, max(0, microseconds - 1).bit_length())] += 1
            self._woken = None

    def spent(self, state: State, now: int) -> int:
        """Time in that state so far."""
        booked = self._spent[state]  # first: a move in between may be missed, not counted twice
        return booked + (max(0, now - self._since) if self.state is state else 0)
