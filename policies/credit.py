"""Credit: pCPU time in proportion to weights, with caps, and at once for those who sleep much.

Each task has a *virtual time* that advances by run time / weight; the smallest runs next. This is
start-time fair queueing (Goyal, Guo, Vin, "A Hierarchical CPU Scheduler for Multimedia Operating
Systems", 1996) with one queue for all pCPUs, as in Xen's credit2. Arithmetic is on integers and
what a division leaves is carried, so weights come out exactly however long it runs.

*Turns.* A runner gives way when its virtual time has passed that of the first in the queue and its
slice is over. All have the same slice, whatever their weight: what a switch and a cold cache cost
is then the same part of everyone's turn, and shares of *work* come out by weight, not only of time.

*Wake-ups.* A woken task needs no end of turn, only 0.5 ms of rest for the one before it: it runs at
once if it used less than its share, and wake-up storms cannot make more than 2,000 switches a
second. Sleepers keep what they are behind up to one slice of their own and of the first rival's.

*What cannot be met is not remembered.* Where shares are possible, fair queueing keeps two tasks
that compete for a pCPU within a known bound. Who runs and is further behind whoever waits (the one
had a pCPU to itself, or the other is worth more than one) is brought up to that bound; whose
affinity changes begins anew, like a newcomer. So nobody saves up what no schedule could have given,
and nobody starves for it later.

*Caps* are token buckets: they fill at the capped rate and empty at the rate of run time. Who ran
dry sits out until there are 10 ms' worth again; an overrun is a debt, so the rate is exact.
"""

from collections.abc import Hashable
from typing import TypeVar

from policies.base import Account, QueuePolicy
from policies.parameters import MAX_CAP, Parameters

T = TypeVar("T", bound=Hashable)

REST_NS = 500_000
CAP_WINDOW_NS = 10_000_000
CAP_WINDOWS = 2  # that a bucket holds: a timer that is late does not cost its owner
_SCALE = 1 << 16  # of virtual time against run time at weight 1
_PERCENT = 100


class CreditAccount(Account[T]):
    """`key` is the virtual time; tokens are hundredths of a nanosecond."""

    __slots__ = ("charged", "dry", "new", "remainder", "sits_until", "stamp", "tokens", "woken")

    def __init__(self, task: T, parameters: Parameters, mask: int) -> None:
        super().__init__(task, parameters, mask)
        self.new = True
        self.woken = False
        self.charged = 0  # run time is in the books up to then
        self.remainder = 0
        self.stamp: int | None = None  # tokens are as of then
        self.tokens = 0
        self.dry = False
        self.sits_until: int | None = None  # sits out, though it would run

    @property
    def capped(self) -> bool:
        """A cap of a whole pCPU is none."""
        return 0 < self.parameters.cap < MAX_CAP


class Credit(QueuePolicy[T, CreditAccount[T]]):
    """Weighted shares; see the module."""

    name = "credit"

    def __init__(self, pcpus: int, slice_ns: int) -> None:
        super().__init__(pcpus, slice_ns)
        self._sitting: list[CreditAccount[T]] = []
        self._last = 0  # virtual time of whoever ran last

    def adopt(self, task: T, pcpu: int, now: int) -> None:
        """It runs there."""
        super().adopt(task, pcpu, now)
        account = self._accounts[task]
        if account.new:
            self._settle(account, now)
        self._fill(account, now)
        account.charged, account.woken = now, False

    def begin(self, task: T, now: int) -> None:
        """Its time counts from here."""
        super().begin(task, now)
        self._accounts[task].charged = now

    def change(self, task: T, parameters: Parameters, now: int) -> None:
        """A vCPU that gets a cap begins with a window's worth."""
        self._fill(self._accounts[task], now)  # what it earned until now was under the old cap
        super().change(task, parameters, now)
        self._fill(self._accounts[task], now)

    def pick(self, pcpu: int, now: int) -> T | None:
        """The smallest virtual time that may run there and does not sit out."""
        self._admit(now)
        return super().pick(pcpu, now)

    def preempt(self, now: int) -> list[T]:
        """Those who ran dry, and those who are due."""
        self._admit(now)
        return super().preempt(now)

    def next_look(self, now: int) -> int | None:
        """When somebody becomes due, runs dry, or has sat out."""
        self._admit(now)
        looks = [a.sits_until for a in self._sitting if a.sits_until is not None]
        look = super().next_look(now)
        return min(looks if look is None else [*looks, look], default=None)

    def _open(self, task: T, parameters: Parameters, mask: int) -> CreditAccount[T]:
        return CreditAccount(task, parameters, mask)

    def _arrive(self, account: CreditAccount[T], now: int, woken: bool) -> None:
        self._settle(account, now)
        self._fill(account, now)
        account.woken = woken

    def _settle(self, account: CreditAccount[T], now: int) -> None:
        """Bring a newcomer's virtual time up to that of its rivals, less what it may save."""
        rival = self._rival(account, now)
        base = self._last if rival is None else rival.key
        saved = self._room(account, rival or account)
        account.key = base if account.new else max(account.key, base - saved)
        account.new = False

    def _rival(self, account: CreditAccount[T], now: int) -> CreditAccount[T] | None:
        """The smallest virtual time of those who wait or run where it may run too."""
        rivals = [self._first(account.mask)]
        for pcpu, runner in self._running.items():
            if runner is not account and account.mask >> pcpu & 1:
                self._charge(runner, now)
                rivals.append(runner)
        return min((r for r in rivals if r), key=lambda rival: rival.key, default=None)

    def _first(self, mask: int) -> CreditAccount[T] | None:
        for _, _, account in self._queue:
            if account.mask & mask:
                return account
        return None

    def _room(self, one: CreditAccount[T], other: CreditAccount[T]) -> int:
        """How far fair queueing lets two virtual times be apart: a slice of each."""
        slice_virtual = self.slice_ns * _SCALE
        return slice_virtual // one.parameters.weight + slice_virtual // other.parameters.weight

    def _bounded(self, runner: CreditAccount[T], waiter: CreditAccount[T]) -> int:
        """The runner's virtual time, no further behind than late kicks can make it."""
        return max(runner.key, waiter.key - 2 * self._room(runner, waiter))

    def _charge(self, account: CreditAccount[T], now: int) -> None:
        run = now - account.charged
        account.charged = now
        virtual = run * _SCALE + account.remainder
        advance, account.remainder = divmod(virtual, account.parameters.weight)
        account.key += advance
        if account.capped:
            account.stamp = now
            account.tokens -= run * (_PERCENT - account.parameters.cap)
            account.dry = account.dry or account.tokens <= 0
        if rival := self._first(1 << (account.pcpu or 0)):
            account.key = self._bounded(account, rival)
        self._last = account.key

    def _refund(self, account: CreditAccount[T], unused: int) -> None:
        virtual = account.remainder - unused * _SCALE
        advance, account.remainder = divmod(virtual, account.parameters.weight)
        account.key += advance
        if account.capped:
            account.tokens += unused * _PERCENT

    def _due(self, waiter: CreditAccount[T], runner: CreditAccount[T]) -> int:
        weight = runner.parameters.weight
        turn = min(REST_NS, self.slice_ns) if waiter.woken else self.slice_ns
        behind = (waiter.key - self._bounded(runner, waiter)) * weight - runner.remainder
        passes = runner.charged + max(0, -(-behind // _SCALE))
        return max(runner.since + turn, passes)

    def _excess(self, account: CreditAccount[T], now: int) -> int:
        return account.key + (now - account.charged) * _SCALE // account.parameters.weight

    def _end(self, account: CreditAccount[T]) -> int | None:
        end = super()._end(account)
        if end is not None or not account.capped:
            return end
        if account.dry:
            return account.charged
        return account.charged - (-account.tokens // (_PERCENT - account.parameters.cap))

    def _alter(self, account: CreditAccount[T], parameters: Parameters, now: int) -> None:
        """What it is ahead or behind stays the same in run time, its tokens in time of the cap."""
        before, after = account.parameters, parameters
        if before.weight != after.weight:
            rival = self._rival(account, now)
            base = account.key if rival is None else rival.key
            account.key = base + (account.key - base) * before.weight // after.weight
            account.remainder = 0
        if before.affinity != after.affinity:  # other rivals
            account.new = True
            if account.arrival:
                self._settle(account, now)
        if account.capped and 0 < after.cap < MAX_CAP:
            account.tokens = account.tokens * after.cap // before.cap
        else:
            account.stamp, account.dry = None, False

    def _fill(self, account: CreditAccount[T], now: int) -> None:
        if not account.capped:
            return
        cap = account.parameters.cap
        window = CAP_WINDOW_NS * cap
        if account.stamp is None:
            account.tokens = window
        else:
            tokens = account.tokens + (now - account.stamp) * cap
            account.tokens = min(tokens, CAP_WINDOWS * window)
        account.stamp = now

    def _enqueue(self, account: CreditAccount[T], now: int) -> None:
        if account.capped and account.dry:
            cap = account.parameters.cap
            missing = CAP_WINDOW_NS * cap - account.tokens
            account.sits_until = now + max(0, -(-missing // cap))
            self._sitting.append(account)
        else:
            super()._enqueue(account, now)

    def _dequeue(self, account: CreditAccount[T]) -> None:
        if account.sits_until is None:
            super()._dequeue(account)
        else:
            self._sitting.remove(account)
            account.sits_until = None

    def _admit(self, now: int) -> None:
        """Queue those who have sat out."""
        if not self._sitting:
            return
        for account in self._sitting[:]:
            if account.sits_until is not None and account.sits_until <= now:
                self._dequeue(account)
                account.dry = False
                self._settle(account, now)
                super()._enqueue(account, now)
