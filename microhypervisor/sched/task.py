"""One vCPU as the scheduler knows it: its thread, where it is, and what was said of it."""

import threading
import time
from dataclasses import dataclass

from microhypervisor.cpu.protocol import Vcpu
from microhypervisor.sched.accounting import Account
from microhypervisor.sched.policy import Parameters

_WOKE_NS = 200_000  # more CPU time between two looks than a kick costs: the thread is not asleep


@dataclass(slots=True)
class Pcpu:
    """One of the vCPUs that may run at once, bound to a CPU of the host."""

    index: int
    host_cpu: int
    task: "Task | None" = None
    since: int = 0
    busy_ns: int = 0
    switches: int = 0


class Task:
    """All but its name is the scheduler's, under the scheduler's lock."""

    def __init__(self, name: str, vcpu: Vcpu, sleeps_inside: bool, parameters: Parameters) -> None:
        self.name = name
        self.vcpu = vcpu
        self.sleeps_inside = sleeps_inside  # its halts are not seen: see scheduler.py
        self.parameters = parameters
        self.account = Account(time.monotonic_ns())
        self.pcpu: Pcpu | None = None  # where it runs, or ran last
        self.paused = False
        self.ended = False
        self.inside = False  # of run(), after a port access: it is runnable whatever the vCPU says
        self.parked = False  # inside run() without a pCPU, asleep as far as one knows
        self.kicked = False
        self.thread: threading.Thread | None = None
        self.gate: threading.Condition | None = None  # its thread waits here for its turn
        self.host_cpu = -1  # that its thread is bound to
        self.clock: int | None = None  # of its thread's CPU time
        self._used_ns = 0
        self._lost_ns = 0  # time without the host's CPU, since some beginning

    def begin(self, now: int) -> None:
        """Its turn begins. On its thread, like the next."""
        self._lost_ns = now - time.thread_time_ns()

    def unused_ns(self, now: int) -> int:
        """Of its turn: when its thread did not have the host's CPU."""
        return max(0, now - time.thread_time_ns() - self._lost_ns)

    def slept(self) -> bool:
        """Whether its thread was asleep for most of the time since the last look."""
        before = self._used_ns
        try:
            self._used_ns = 0 if self.clock is None else time.clock_gettime_ns(self.clock)
        except OSError:  # the thread ended in between
            return True
        return self._used_ns - before < _WOKE_NS
