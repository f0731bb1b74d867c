"""Runs vCPU threads on a fixed number of pCPUs: at most that many run guest code at once.

A vCPU thread asks for a pCPU, runs its vCPU until something stops it, and gives the pCPU back. A
ticker kicks those whose slice is over while others wait.

With an in-kernel interrupt controller a halted vCPU sleeps inside KVM_RUN and only the kernel
knows when it wakes. Such a vCPU is *parked*: it re-enters KVM_RUN without a pCPU, and the ticker
looks at its thread's CPU time. When it has run, it is kicked and queues like everybody else, so
it may run on top of the others for up to a slice after each sleep that began under contention.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from microhypervisor.cpu.protocol import Bus, Stop, Vcpu
from microhypervisor.limits import SLICE_NS
from microhypervisor.sched.round_robin import RoundRobin

_WOKE_NS = 200_000  # more CPU time in a tick than a kick and a look cost: the parked vCPU runs


class State(Enum):
    """Of a vCPU, as the scheduler sees it."""

    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"  # or waiting for its start-up interrupt
    BLOCKED = "blocked"  # waits for the answer to a port access
    PAUSED = "paused"
    ENDED = "ended"


class Task:
    """One vCPU with its thread."""

    def __init__(self, name: str, vcpu: Vcpu, sleeps_inside: bool) -> None:
        self.name = name
        self.vcpu = vcpu
        self.sleeps_inside = sleeps_inside
        self.state = State.PAUSED
        self.paused = False
        self.ended = False
        self.parked = False
        self.thread: threading.Thread | None = None
        self._clock: int | None = None
        self._seen_ns = 0
        self._final_ns = 0

    def bind(self) -> None:
        """Called once on the task's own thread."""
        self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def unbind(self) -> None:
        """The thread is about to end."""
        self._final_ns, self._clock = self.run_ns(), None

    def run_ns(self) -> int:
        """CPU time used so far, nanoseconds."""
        clock = self._clock
        try:
            return self._final_ns if clock is None else time.clock_gettime_ns(clock)
        except OSError:  # the thread ended in between
            return self._final_ns

    def woke(self) -> bool:
        """Whether a parked vCPU has used CPU time since the last look."""
        before, self._seen_ns = self._seen_ns, self.run_ns()
        return self._seen_ns - before > _WOKE_NS


class Scheduler:
    """All vCPUs of all guests."""

    def __init__(self, pcpus: int) -> None:
        self.pcpus = pcpus
        self._policy: RoundRobin[Task] = RoundRobin(pcpus, SLICE_NS)
        self._changed = threading.Condition()
        self._parked: set[Task] = set()
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()

    def start(self, task: Task, bus: Bus, stopped: Callable[[Task, Stop], None]) -> None:
        """Run the task's vCPU on a thread of its own; `stopped` hears of faults."""
        task.vcpu.wake = self._look_again

        def body() -> None:
            task.bind()
            while self._enter(task):
                try:
                    stop = task.vcpu.run(bus)
                except Exception:  # our bug: it costs this guest its life, and nobody else
                    traceback.print_exc()
                    stop = Stop.FAILED
                self._leave(task)
                if stop in (Stop.TRIPLE_FAULT, Stop.FAILED):
                    stopped(task, stop)
            task.unbind()

        task.thread = threading.Thread(target=body, name=f"vcpu {task.name}", daemon=True)
        task.thread.start()

    def pause(self, tasks: list[Task]) -> None:
        """Returns when none of them runs guest code."""
        with self._changed:
            for task in tasks:
                task.paused = True
                task.vcpu.kick()
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not any(t.state is State.RUNNING or t.parked for t in tasks)
            )

    def resume(self, tasks: list[Task]) -> None:
        """Let them run again."""
        with self._changed:
            for task in tasks:
                task.paused = False
            self._changed.notify_all()

    def end(self, tasks: list[Task]) -> None:
        """Have their threads end; does not wait."""
        with self._changed:
            for task in tasks:
                task.ended = True
                task.vcpu.kick()
            self._changed.notify_all()

    @contextmanager
    def blocking(self, task: Task) -> Iterator[None]:
        """On the task's thread, inside run(): it waits for somebody else, without a pCPU."""
        self._leave(task)
        task.state = State.BLOCKED
        try:
            yield
        finally:
            self._enter(task, inside=True)

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _enter(self, task: Task, inside: bool = False) -> bool:
        """Wait for a pCPU; False once the task has ended. Inside a run it is runnable."""
        with self._changed:
            while not task.ended:
                if task.paused:
                    task.state = State.PAUSED
                elif inside or task.vcpu.runnable():
                    if self._take_pcpu(task):
                        return True
                    continue
                else:
                    task.state = State.HALTED
                    if task.sleeps_inside:
                        task.parked = True
                        task.woke()
                        self._parked.add(task)
                        self._changed.notify_all()
                        return True
                self._changed.wait()
            task.state = State.ENDED
            self._changed.notify_all()
            return False

    def _take_pcpu(self, task: Task) -> bool:
        """False if the task was paused or ended while it waited."""
        policy = self._policy
        task.state = State.READY
        policy.make_ready(task)
        self._dispatch()
        while task.state is State.READY:
            if task.paused or task.ended:
                policy.withdraw(task)
                return False
            self._changed.wait()
        return True

    def _leave(self, task: Task) -> None:
        with self._changed:
            if task.parked:
                task.parked = False
                self._parked.discard(task)
            elif task.state is State.RUNNING:
                self._policy.release(task)
                task.state = State.READY
                self._dispatch()
            self._changed.notify_all()

    def _dispatch(self) -> None:
        now = time.monotonic_ns()
        while (task := self._policy.pick(now)) is not None:
            task.state = State.RUNNING
        self._changed.notify_all()

    def _tick(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._policy.contended or self._parked)
                for task in self._policy.expired(time.monotonic_ns()):
                    task.vcpu.kick()
                for task in self._parked:
                    if task.woke():
                        task.vcpu.kick()
            time.sleep(SLICE_NS / 1e9)
