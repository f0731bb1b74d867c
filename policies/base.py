"""What policies share: who is where, one queue for all pCPUs, and who has to give way to whom.

`QueuePolicy` conforms to `microhypervisor.sched.policy.Policy`. It keeps those who wait in the
order of (`key`, arrival) and asks a subclass only two things: what the key of a newcomer is, and
when somebody who waits may take the pCPU of somebody who runs. Decisions cost O(pCPUs) and a pass
over those who wait, at worst; affinity is a bit mask for that reason.

A task that was told to give way runs on until it is released, some tenths of a millisecond later.
Until then its pCPU counts as promised to whoever waits, so that nobody else is kicked for the same
one.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, TypeVar

from policies.parameters import Parameters, check

T = TypeVar("T", bound=Hashable)


class Account(Generic[T]):
    """What a policy knows of one task. Times in nanoseconds."""

    __slots__ = ("arrival", "key", "kicked", "mask", "parameters", "pcpu", "since", "task")

    def __init__(self, task: T, parameters: Parameters, mask: int) -> None:
        self.task = task
        self.parameters = parameters
        self.mask = mask
        self.key = 0  # small ones run first
        self.arrival = 0  # in the order of waiting; 0: does not wait
        self.pcpu: int | None = None
        self.since = 0  # runs since then
        self.kicked = False


A = TypeVar("A", bound=Account[Any])


class QueuePolicy(ABC, Generic[T, A]):
    """A policy with a queue for all pCPUs; tasks are anything hashable."""

    name: ClassVar[str]

    def __init__(self, pcpus: int, slice_ns: int) -> None:
        self.pcpus = pcpus
        self.slice_ns = slice_ns
        self._accounts: dict[T, A] = {}
        self._running: dict[int, A] = {}
        self._queue: list[tuple[int, int, A]] = []
        self._arrivals = 0

    @abstractmethod
    def _open(self, task: T, parameters: Parameters, mask: int) -> A:
        """The account of a new task."""

    @abstractmethod
    def _due(self, waiter: A, runner: A) -> int | None:
        """From when on `waiter` may have the pCPU of `runner`; None: not by passing of time."""

    def _arrive(self, account: A, now: int, woken: bool) -> None:
        """It is about to wait: set its key. As it is, whoever came first is first."""

    def _charge(self, account: A, now: int) -> None:
        """It runs and is looked at, or its run ends: account for the time."""

    def _refund(self, account: A, unused: int) -> None:
        """So much of what was charged did not happen."""

    def _alter(self, account: A, parameters: Parameters, now: int) -> None:
        """Its parameters are about to change, its mask has. It is not queued; a run is charged."""

    def _end(self, account: A) -> int | None:
        """When a running task has to stop even if nobody waits."""
        forbidden = account.pcpu is not None and not account.mask >> account.pcpu & 1
        return account.since if forbidden else None

    def _excess(self, account: A, now: int) -> int:
        """Of several that are due, the one with the largest excess gives way."""
        return now - account.since

    def add(self, task: T, parameters: Parameters, now: int) -> None:
        """Get to know an idle task."""
        self._accounts[task] = self._open(task, parameters, check(parameters, self.pcpus))

    def change(self, task: T, parameters: Parameters, now: int) -> None:
        """Other parameters; a task that waits keeps its place among equals."""
        mask = check(parameters, self.pcpus)
        account = self._accounts[task]
        if account.arrival:
            self._dequeue(account)
        if account.pcpu is not None:
            self._charge(account, now)
        account.mask = mask
        self._alter(account, parameters, now)
        account.parameters = parameters
        if account.arrival:
            self._enqueue(account, now)

    def remove(self, task: T, now: int) -> None:
        """Forget an idle task."""
        del self._accounts[task]

    def ready(self, task: T, now: int, woken: bool) -> None:
        """It waits from now on."""
        account = self._accounts[task]
        self._arrive(account, now, woken)
        self._arrivals += 1
        account.arrival = self._arrivals
        self._enqueue(account, now)

    def withdraw(self, task: T, now: int) -> None:
        """It waits no more."""
        account = self._accounts[task]
        self._dequeue(account)
        account.arrival = 0

    def waits(self, task: T) -> bool:
        """Whether it wants a pCPU and has none."""
        return self._accounts[task].arrival > 0

    def pick(self, pcpu: int, now: int) -> T | None:
        """The first in the queue that may run there."""
        bit = 1 << pcpu
        for i, (_, _, account) in enumerate(self._queue):
            if account.mask & bit:
                del self._queue[i]
                account.arrival = 0
                task: T = account.task
                self.adopt(task, pcpu, now)
                return task
        return None

    def adopt(self, task: T, pcpu: int, now: int) -> None:
        """It runs there."""
        account = self._accounts[task]
        account.pcpu, account.since = pcpu, now
        self._running[pcpu] = account

    def begin(self, task: T, now: int) -> None:
        """Its time counts from here."""
        self._accounts[task].since = now

    def release(self, task: T, now: int, unused: int = 0) -> None:
        """It runs no more; what it could not use is not its own."""
        account = self._accounts[task]
        assert account.pcpu is not None
        self._charge(account, now)
        self._refund(account, unused)
        del self._running[account.pcpu]
        account.pcpu, account.kicked = None, False

    def preempt(self, now: int) -> list[T]:
        """Those at their end, and as many of those that are due as are wanted by who waits."""
        named, _ = self._match(now)
        for account in named:
            account.kicked = True
        return [account.task for account in named]

    def next_look(self, now: int) -> int | None:
        """The first time at which somebody who runs reaches an end or becomes due."""
        named, look = self._match(now)
        return now if any(not account.kicked for account in named) else look

    def _enqueue(self, account: A, now: int) -> None:
        insort(self._queue, (account.key, account.arrival, account))

    def _dequeue(self, account: A) -> None:
        del self._queue[bisect_left(self._queue, (account.key, account.arrival))]

    def _match(self, now: int) -> tuple[list[A], int | None]:
        """Who has to give way now, and when to look for the next.

        The first who waits for a pCPU decides for it: if he may not have it yet, nobody behind may.
        """
        named: list[A] = []
        looks: list[int] = []
        leaving = staying = 0
        for pcpu, runner in self._running.items():
            end = self._end(runner)
            if end is not None and end <= now:
                named.append(runner)
                leaving |= 1 << pcpu
            elif runner.kicked:
                leaving |= 1 << pcpu
            else:
                staying |= 1 << pcpu
                if end is not None:
                    looks.append(end)
        for _, _, waiter in self._queue:
            if promised := waiter.mask & leaving:
                bit = promised & -promised
                leaving ^= bit
                runner = self._running[bit.bit_length() - 1]
                if runner not in named:
                    named.append(runner)
            elif wanted := waiter.mask & staying:
                victim = self._victim(waiter, wanted, now, looks)
                if victim is None:
                    staying &= ~wanted
                elif victim.pcpu is not None:
                    staying &= ~(1 << victim.pcpu)
                    named.append(victim)
            if not leaving | staying:
                break
        return named, min(looks, default=None)

    def _victim(self, waiter: A, wanted: int, now: int, looks: list[int]) -> A | None:
        """Who on the pCPUs `wanted` gives way to `waiter` now; else the next time goes to looks."""
        due: list[A] = []
        later: list[int] = []
        while wanted:
            bit = wanted & -wanted
            wanted ^= bit
            runner = self._running[bit.bit_length() - 1]
            when = self._due(waiter, runner)
            if when is not None:
                if when <= now:
                    due.append(runner)
                else:
                    later.append(when)
        if due:
            return max(due, key=lambda runner: self._excess(runner, now))
        looks += later
        return None
