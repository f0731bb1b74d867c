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
        self._clock: int | None = None
        self._used_ns = 0

    def bind_clock(self) -> None:
        """Called once on the task's own thread."""
        self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def slept(self) -> bool:
        """Whether its thread was asleep for most of the time since the last look."""
        before = self._used_ns
        try:
            self._used_ns = 0 if self._clock is None else time.clock_gettime_ns(self._clock)
        except OSError:  # the thread ended in between
            return True
        return self._used_ns - before < _WOKE_NS
