"""Runs vCPU threads on pCPUs: at any moment at most one vCPU runs on each.

The mechanism; who runs where is decided by a policy (policy.py). A vCPU's thread waits at its gate
for a pCPU, binds itself to that pCPU's host CPU, runs the vCPU until something stops it, and gives
the pCPU back. A halted vCPU gives it up at once, and the interrupt that wakes it puts it among
those who wait, on the thread that raised the interrupt. A ticker looks when the policy said that
something is due; who has to go is kicked out of its run.

With an in-kernel interrupt controller a halted vCPU sleeps inside KVM_RUN and only the kernel
knows when it wakes. The ticker then looks every WATCH_NS at the CPU time of such threads: one that
holds a pCPU and has slept loses it and is *parked*, which is to be in run() without a pCPU; a
parked one that has run is kicked and queues like everybody else.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from microhypervisor.cpu.protocol import Bus, Stop
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.limits import SWITCH_NS, WATCH_NS
from microhypervisor.plugins import installed, load
from microhypervisor.sched.accounting import State
from microhypervisor.sched.host import LONG_NS, set_slice
from microhypervisor.sched.policy import Parameters, Policy
from microhypervisor.sched.task import Pcpu, Task

GROUP = "splitvisor.policies"
_OFF = (State.READY, State.HALTED, State.PAUSED)  # waits at its gate


class Scheduler:
    """All vCPUs of all guests."""

    def __init__(self, host_cpus: Iterable[int], policy: str, slice_ns: int) -> None:
        self.pcpus = [Pcpu(index, cpu) for index, cpu in enumerate(host_cpus)]
        self.policy_name, self.slice_ns = policy, slice_ns
        self._policy = self._make(policy, slice_ns)
        self._tasks: list[Task] = []
        self._lock = threading.Lock()
        self._alarm: int | None = None
        self._timer = threading.Condition(self._lock)
        self._left = threading.Condition(self._lock)  # somebody came out of run()
        self._watched_ns = self._now = 0
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()

    def add(self, tasks: list[Task]) -> None:
        """Get to know the vCPUs of a guest; PeerFault if one does not fit, and none is known."""
        with self._lock:
            now = self._clock()
            with ExitStack() as undo:
                for task in tasks:
                    with _refusal(task):
                        self._policy.add(task, _asked(task.parameters), now)
                    undo.callback(self._policy.remove, task, now)
                undo.pop_all()
            self._tasks += tasks
            self._timer.notify()  # they may be some to look after

    def remove(self, tasks: list[Task]) -> None:
        """Forget them, once; they have ended or never begun."""
        with self._lock:
            for task in tasks:
                self._tasks.remove(task)
                self._policy.remove(task, self._clock())

    def set_parameters(self, tasks: list[Task], parameters: Parameters) -> None:
        """Schedule them otherwise from now on: all of them, or none and a PeerFault."""
        with self._lock:
            if not set(tasks) <= set(self._tasks):
                raise PeerFault(f"vCPU {tasks[0].name} has ended", Refusal.WRONG_STATE)
            try:
                for task in tasks:
                    with _refusal(task):
                        self._policy.change(task, _asked(parameters), self._clock())
            except PeerFault:  # not one by one: on the way back one might not fit
                old = {task: task.parameters for task in self._tasks}
                self._install(self._make(self.policy_name, self.slice_ns), old)
                raise
            for task in tasks:
                task.parameters = parameters
            self._dispatch(self._now)

    def set_policy(self, name: str, slice_ns: int) -> None:
        """Have another policy decide from now on; PeerFault if it cannot, and the old one stays."""
        with self._lock:
            if (name, slice_ns) == (self.policy_name, self.slice_ns):
                return
            self._install(self._make(name, slice_ns), {t: t.parameters for t in self._tasks})
            self.policy_name, self.slice_ns = name, slice_ns

    def start(self, task: Task, bus: Bus, stopped: Callable[[Task, Stop], None]) -> None:
        """Run the task's vCPU on a thread of its own; `stopped` hears of faults.

        RuntimeError if the host gives no more threads; then the task has none.
        """
        task.gate = threading.Condition(self._lock)
        task.vcpu.wake = lambda: self._wake(task)

        def body() -> None:
            task.clock = time.pthread_getcpuclockid(threading.get_ident())
            set_slice(LONG_NS)
            while self._enter(task):
                try:
                    stop = task.vcpu.run(bus)
                except Exception:  # our bug: it costs this guest its life, and nobody else
                    traceback.print_exc()
                    stop = Stop.FAILED
                if stop in (Stop.TRIPLE_FAULT, Stop.FAILED):
                    self._leave(task, State.PAUSED)
                    stopped(task, stop)

        task.thread = threading.Thread(target=body, name=f"vcpu {task.name}", daemon=True)
        try:
            task.thread.start()
        except RuntimeError:
            task.thread = None
            raise

    def pause(self, tasks: list[Task]) -> None:
        """Returns when none of them runs guest code."""
        with self._lock:
            self._flag(tasks, paused=True)
            self._left.wait_for(
                lambda: not any(t.account.state is State.RUNNING or t.parked for t in tasks)
            )

    def resume(self, tasks: list[Task]) -> None:
        """Let them run again."""
        with self._lock:
            self._flag(tasks, paused=False)

    def end(self, tasks: list[Task]) -> None:
        """Have their threads end; does not wait."""
        with self._lock:
            for task in tasks:
                task.ended = True
            self._flag(tasks, paused=False)

    @contextmanager
    def blocking(self, task: Task) -> Iterator[None]:
        """On the task's thread, inside run(): it waits for somebody else, without a pCPU."""
        self._leave(task, State.BLOCKED)
        try:
            yield
        finally:
            task.inside = True
            self._enter(task)
            task.inside = False

    def _make(self, name: str, slice_ns: int) -> Policy[Task]:
        if name not in (known := installed(GROUP)):
            text = f"no scheduling policy {name!r} is installed: there are {', '.join(known)}"
            raise PeerFault(text, Refusal.NOT_FOUND)
        try:
            policy: Policy[Task] = load(GROUP, name)(len(self.pcpus), slice_ns)
        except ValueError as refusal:
            raise PeerFault(f"policy {name}: {refusal}") from None
        return policy

    def _install(self, policy: Policy[Task], said: dict[Task, Parameters]) -> None:
        """From now on it decides, of vCPUs that are where they are; PeerFault if one is refused."""
        now = self._clock()
        for task, parameters in said.items():
            with _refusal(task):
                policy.add(task, _asked(parameters), now)
        for task in said:
            if task.account.state is State.RUNNING and task.pcpu:
                policy.adopt(task, task.pcpu.index, now)
            elif task.account.state is State.READY:
                policy.ready(task, now, woken=False)
        self._policy = policy
        self._dispatch(now)

    def _flag(self, tasks: list[Task], paused: bool) -> None:
        now = self._clock()
        for task in tasks:
            task.paused = paused
            if task.account.state in _OFF and not task.parked:
                self._settle(task, now)
            elif paused or task.ended:
                task.vcpu.kick()
        self._dispatch(now)

    def _wake(self, task: Task) -> None:
        with self._lock:
            if task.account.state is State.HALTED and not task.parked:
                now = self._clock()
                self._settle(task, now)
                self._dispatch(now)

    def _enter(self, task: Task) -> bool:
        """From wherever it is to the next run(); False once the task has ended."""
        assert task.gate is not None
        came_out = time.monotonic_ns()  # before the lock: waiting for it is no guest's time
        with self._lock:
            now = self._off(task, came_out)
            self._settle(task, now)
            self._dispatch(now)
            while task.account.state in _OFF and not task.parked:
                task.gate.wait()
                if task.account.state is State.HALTED and task.sleeps_inside:
                    self._settle(task, self._clock())  # nobody else can park it
            if task.account.state is State.ENDED:
                return False
        if task.account.state is State.RUNNING and task.pcpu:
            if (host_cpu := task.pcpu.host_cpu) != task.host_cpu:
                with suppress(OSError):  # the host took that CPU away: run on another one
                    os.sched_setaffinity(0, {host_cpu})
                task.host_cpu = host_cpu
            with self._lock:
                task.account.entered(now := self._clock())
                self._policy.begin(task, now)
                task.begin(now)
                self._alarm = now  # the ticker works out when, while the guest runs already
                self._timer.notify()
        return True

    def _leave(self, task: Task, state: State) -> None:
        came_out = time.monotonic_ns()
        with self._lock:
            now = self._off(task, came_out)
            task.account.move(state, now)
            self._dispatch(now)

    def _clock(self, at: int = 0) -> int:
        """Now, or `at` if nothing has happened since; it never goes back. Under the lock."""
        self._now = max(self._now, at or time.monotonic_ns())
        return self._now

    def _off(self, task: Task, came_out: int) -> int:
        """It is not in run() any more; when that counts from."""
        now = self._clock(came_out)
        task.parked = task.kicked = False
        if task.account.state is State.RUNNING and task.pcpu:
            self._policy.release(task, now, task.unused_ns(now))
            task.pcpu.busy_ns += now - task.pcpu.since
            task.pcpu.task = None
        self._left.notify_all()
        return now

    def _settle(self, task: Task, now: int) -> None:
        """Put a task that is on no pCPU where it belongs, and tell its thread if that matters."""
        before = task.account.state
        if task.ended:
            after = State.ENDED
        elif task.paused:
            after = State.PAUSED
        elif task.inside or task.vcpu.runnable():
            after = State.READY
        else:
            after = State.HALTED
            task.parked = task.sleeps_inside and task.thread is threading.current_thread()
        if before is State.READY and after is not State.READY:
            self._policy.withdraw(task, now)
        elif after is State.READY and before is not State.READY:
            self._policy.ready(task, now, woken=before in (State.HALTED, State.BLOCKED))
        if after is not before:
            task.account.move(after, now)
        if task.gate and (after is State.ENDED or task.sleeps_inside):
            task.gate.notify()

    def _dispatch(self, now: int) -> None:
        """Act on what the policy says now; if somebody is picked, the rest waits until he runs."""
        policy, picked = self._policy, False
        for pcpu in self.pcpus:
            if pcpu.task is None and (task := policy.pick(pcpu.index, now)) is not None:
                pcpu.task, pcpu.since, task.pcpu = task, now, pcpu
                pcpu.switches += 1
                picked = True
                task.account.move(State.RUNNING, now)
                if task.gate:
                    task.gate.notify()
        if picked:
            return
        for task in policy.preempt(now):
            self._kick(task)
        alarm = policy.next_look(now)
        sooner = alarm is not None and (self._alarm is None or alarm < self._alarm)
        self._alarm = alarm
        if sooner:
            self._timer.notify()

    def _kick(self, task: Task) -> None:
        if not task.kicked:
            task.kicked = True
            task.vcpu.kick()

    def _tick(self) -> None:
        with self._lock:
            while True:
                now, due = self._clock(), self._alarm
                if any(task.sleeps_inside for task in self._tasks):
                    due = min(due or now + WATCH_NS, self._watched_ns + WATCH_NS)
                if due is None or due > now:
                    self._timer.wait(None if due is None else (due - now) / 1e9)
                    now = self._clock()
                self._watch(now)
                self._dispatch(now)

    def _watch(self, now: int) -> None:
        """Look after vCPUs that sleep inside run()."""
        if now - self._watched_ns < WATCH_NS:
            return
        self._watched_ns = now
        waiting = any(task.account.state is State.READY for task in self._tasks)
        for task in self._tasks:
            if task.sleeps_inside:
                asleep, running = task.slept(), task.account.state is State.RUNNING
                if (task.parked and not asleep) or (running and asleep and waiting):
                    self._kick(task)


def _asked(said: Parameters) -> Parameters:
    """What to ask of a policy: a budget is the guest's own, and switches come on top of it."""
    with_switch = min(said.budget_ns + SWITCH_NS, said.period_ns)
    return replace(said, budget_ns=max(said.budget_ns, with_switch)) if said.budget_ns else said


@contextmanager
def _refusal(task: Task) -> Iterator[None]:
    try:
        yield
    except ValueError as refusal:
        raise PeerFault(f"vCPU {task.name}: {refusal}") from None
