"""Runs emulated vCPUs under a scheduling policy in virtual time: one thread, always the same.

An instruction takes INSTRUCTION_NS; nothing else takes any time. Each pCPU has its own clock, and
the one that is furthest behind goes on, by a step at most, so that the policy hears of everything
in the order of time, and the pCPUs of a machine are never further apart than a step. The policy is
the very object that the core schedules with (`microhypervisor.sched.policy`); a vCPU that has to
give way is told so between two steps.

What a guest writes to its bus happens in the middle of a step; what it causes for others (an
interrupt) is seen at their next one.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from cpus.emulated.vcpu import EmulatedVcpu
from microhypervisor.cpu.protocol import Bus, Stop
from microhypervisor.sched.policy import Parameters, Policy

INSTRUCTION_NS: Final = 10  # about what one takes in real time
STEP_NS: Final = 100_000
_GOES_ON: Final = (None, Stop.BUDGET, Stop.KICKED)


class Entry(NamedTuple):
    """A line of the trace. `what`: ready, woken, run, preempt, or why a run ended."""

    now: int
    task: str
    what: str
    pcpu: int | None = None


@dataclass(eq=False, slots=True)
class _Task:
    name: str
    vcpu: EmulatedVcpu
    bus: Bus
    idle: bool = True
    preempted: bool = False
    ended: bool = False


@dataclass(eq=False, slots=True)
class _Pcpu:
    index: int
    clock: int = 0
    task: _Task | None = None
    stop: Stop | None = None  # why the task's last step ended


class VirtualTime:
    """A machine of emulated vCPUs, of any number of guests. Times in nanoseconds."""

    def __init__(self, policy: Policy[str], pcpus: int) -> None:
        self.now = 0
        self.trace: list[Entry] = []
        self._policy = policy
        self._pcpus = [_Pcpu(index) for index in range(pcpus)]
        self._tasks: dict[str, _Task] = {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0

    def add(self, name: str, vcpu: EmulatedVcpu, bus: Bus, parameters: Parameters) -> None:
        """A vCPU that takes part from now on. ValueError if the policy refuses it."""
        self._policy.add(name, parameters, self.now)
        self._tasks[name] = _Task(name, vcpu, bus)

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Have something done at a time, such as the pulse of an interrupt line."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, action))

    def end(self, name: str) -> None:
        """That vCPU runs no more; also from its own bus."""
        task = self._tasks[name]
        task.ended = True
        task.vcpu.kick()

    def run(self, until: int) -> bool:
        """Go on until that time; False if before it all sleep and nothing will ever wake them."""
        while True:
            pcpu = min(self._pcpus, key=lambda p: (p.clock, p.index))
            if pcpu.clock >= until:
                return True
            self.now = max(self.now, pcpu.clock)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self._settle(pcpu)
            self._wake()
            for name in self._policy.preempt(self.now):
                self._tasks[name].preempted = True
                self._note(name, "preempt")
            self._settle(pcpu)
            if pcpu.task is None:
                self._pick(pcpu)
            if pcpu.task is not None:
                self._step(pcpu, pcpu.task)
            elif not self._rest(pcpu):
                return False

    def _note(self, name: str, what: str, pcpu: _Pcpu | None = None) -> None:
        self.trace.append(Entry(self.now, name, what, pcpu.index if pcpu else None))

    def _settle(self, pcpu: _Pcpu) -> None:
        """Take the task off its pCPU if its last step ended the run, or if it has to give way."""
        task, stop, pcpu.stop = pcpu.task, pcpu.stop, None
        if task is None or not (task.preempted or task.ended or stop not in _GOES_ON):
            return
        if stop in (Stop.TRIPLE_FAULT, Stop.FAILED):
            task.ended = True
        self._policy.release(task.name, self.now)
        self._note(task.name, stop.value if stop else "released", pcpu)
        pcpu.task, task.idle = None, True
        if task.ended:
            self._policy.remove(task.name, self.now)
        elif task.vcpu.runnable():
            self._ready(task, "ready")
        task.preempted = False

    def _wake(self) -> None:
        for task in self._tasks.values():
            if task.idle and not task.ended and task.vcpu.runnable():
                self._ready(task, "woken")

    def _ready(self, task: _Task, what: str) -> None:
        task.idle = False
        self._policy.ready(task.name, self.now, what == "woken")
        self._note(task.name, what)

    def _pick(self, pcpu: _Pcpu) -> None:
        if (name := self._policy.pick(pcpu.index, self.now)) is not None:
            pcpu.task = self._tasks[name]
            self._policy.begin(name, self.now)
            self._note(name, "run", pcpu)

    def _step(self, pcpu: _Pcpu, task: _Task) -> None:
        """As far as the policy needs no look and nothing else happens, but at most a step."""
        length = min([STEP_NS, *(then - self.now for then in self._next())])
        before = task.vcpu.instructions
        pcpu.stop = task.vcpu.run(task.bus, max(1, length // INSTRUCTION_NS))
        spent = (task.vcpu.instructions - before) * INSTRUCTION_NS
        pcpu.clock = self.now + max(spent, INSTRUCTION_NS)

    def _rest(self, pcpu: _Pcpu) -> bool:
        """Nobody for this pCPU: wait for another one, or for the time at which to look again."""
        if any(other.task for other in self._pcpus):
            then = min([self.now + STEP_NS, *self._next()])
            pcpu.clock = max(then, self.now + INSTRUCTION_NS)
            return True
        if not (times := self._next()):
            return False
        for other in self._pcpus:
            other.clock = max(min(times), self.now + INSTRUCTION_NS)
        return True

    def _next(self) -> list[int]:
        """When something happens by itself: an event, or the policy wants to be asked."""
        look = self._policy.next_look(self.now)
        events = [self._events[0][0]] if self._events else []
        return events if look is None else [look, *events]
