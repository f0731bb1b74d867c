"""What the scheduler asks of a policy: who runs where, and when to look again.

A policy is pure: time and state in, decisions out; no threads, no clocks, no I/O. Policies are
plug-ins, found by entry points in the group `splitvisor.policies`; the core imports none, and the
very same code runs in the simulator in virtual time. Times are nanoseconds of one clock that
never goes back; pCPUs are numbered from 0.

Each task is in one of four places: not known, idle, waiting, or running on a pCPU:

    add, remove       not known <-> idle          pick              waiting -> running
    ready             idle -> waiting             release           running -> idle
    withdraw          waiting -> idle             adopt             idle -> running
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an operator says of one vCPU; each policy uses what it knows of."""

    weight: int = 256  # 1 to 65535: the share under contention is proportional to it
    cap: int = 0  # percent of one pCPU that it may use at most; 0: no cap
    budget_ns: int = 0  # run time reserved in every period; 0: no reservation
    period_ns: int = 0
    affinity: frozenset[int] = frozenset()  # pCPUs that it may run on; empty: all


class Policy(Protocol[T]):
    """See the module. ValueError, in one line, refuses parameters; nothing has changed then."""

    def add(self, task: T, parameters: Parameters, now: int) -> None:
        """Get to know an idle task. ValueError if its reservation does not fit, and by how much."""

    def change(self, task: T, parameters: Parameters, now: int) -> None:
        """Other parameters, wherever the task is. ValueError as with add."""

    def remove(self, task: T, now: int) -> None:
        """Forget an idle task."""

    def ready(self, task: T, now: int, woken: bool) -> None:
        """It wants a pCPU; `woken`: it had been asleep, rather than been taken off its pCPU."""

    def withdraw(self, task: T, now: int) -> None:
        """It wants none any more."""

    def pick(self, pcpu: int, now: int) -> T | None:
        """Who runs on this free pCPU from now on; None: nobody who waits may."""

    def begin(self, task: T, now: int) -> None:
        """It was picked, and its first instruction is only now: what went before was a switch."""

    def adopt(self, task: T, pcpu: int, now: int) -> None:
        """It runs there already: the policy takes over from another one."""

    def release(self, task: T, now: int, unused: int = 0) -> None:
        """It gives its pCPU up. For `unused` ns of its time somebody else had the host's CPU."""

    def preempt(self, now: int) -> list[T]:
        """Who has to give its pCPU up now. They go on running until they are released."""

    def next_look(self, now: int) -> int | None:
        """When `preempt` or `pick` may say something else though nothing happened; None: never."""
