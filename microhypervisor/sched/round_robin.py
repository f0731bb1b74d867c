"""The plainest policy: whoever waited longest runs next, for at most one slice.

Pure: time and state in, decisions out. Work conserving; no priorities, no affinity.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class RoundRobin(Generic[T]):
    """A queue of the ready, and when each of the running began. Times in nanoseconds."""

    def __init__(self, pcpus: int, slice_ns: int) -> None:
        self._free = pcpus
        self._slice_ns = slice_ns
        self._ready: deque[T] = deque()
        self._running: dict[T, int] = {}

    @property
    def contended(self) -> bool:
        """Whether somebody waits."""
        return bool(self._ready)

    def make_ready(self, task: T) -> None:
        """`task` wants a pCPU."""
        self._ready.append(task)

    def withdraw(self, task: T) -> None:
        """`task` wants none any more."""
        if task in self._ready:
            self._ready.remove(task)

    def pick(self, now: int) -> T | None:
        """The next to run, which then holds a pCPU; None if nobody waits or no pCPU is free."""
        if not self._ready or not self._free:
            return None
        self._free -= 1
        task = self._ready.popleft()
        self._running[task] = now
        return task

    def release(self, task: T) -> None:
        """`task` gives its pCPU up."""
        del self._running[task]
        self._free += 1

    def expired(self, now: int) -> list[T]:
        """Who has to give its pCPU up for those who wait: the longest running, one for each."""
        over = [task for task, since in self._running.items() if now - since >= self._slice_ns]
        over.sort(key=self._running.__getitem__)
        return over[: len(self._ready)]
