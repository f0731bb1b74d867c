"""Deadline: a budget of run time in every period, guaranteed; what is left over goes by weight.

Each vCPU with a reservation is a *constant-bandwidth server* (Abeni and Buttazzo, "Integrating
Multimedia Applications in Hard Real-Time Systems", 1998): it has a deadline and a budget until
then, and the earliest deadline runs first. Woken with more budget left than its bandwidth allows
until its deadline, it gets a new deadline a period away. Reservations are *hard*: who has used its
budget up waits for its next period, even if a pCPU is free, so that nobody gets used to more.

*Partitioned.* Each gets one pCPU at admission, the emptiest that it may use, and stays there. There
the earliest deadline is optimal (Liu and Layland 1973): all deadlines are met if and only if budget
/ period add up to at most one. Admission control refuses what would pass that, in exact fractions.

*Overruns.* A kick takes effect 0.1 to 0.3 ms late. That is the mechanism's doing, bounded, and no
guest can make it longer: it is not taken from the next budget, so that each period yields a full
one. Deadlines are met to within that time.

vCPUs without a reservation share the rest through `Credit`, which never sees the others. A reserved
vCPU that becomes ready takes the pCPU of such a one at once.
"""

from collections.abc import Hashable
from fractions import Fraction
from typing import Generic, TypeVar

from policies.base import Account
from policies.credit import Credit
from policies.parameters import MIN_BUDGET_NS, AdmissionError, Parameters, check

T = TypeVar("T", bound=Hashable)


class Server(Account[T]):
    """A reservation. `key` is the deadline, `left` the budget until then, at `since` if it runs."""

    __slots__ = ("home", "left", "over", "waits")

    def __init__(self, task: T, parameters: Parameters, mask: int, home: int) -> None:
        super().__init__(task, parameters, mask)
        self.home = home
        self.left = 0
        self.over = 0  # that was run beyond the budget, since it was picked
        self.waits = False

    @property
    def share(self) -> Fraction:
        """Of its pCPU."""
        return Fraction(self.parameters.budget_ns, self.parameters.period_ns)

    def renew(self, now: int) -> None:
        """A full budget and the next deadline; one that was missed by a period is given up."""
        period = self.parameters.period_ns
        self.left = self.parameters.budget_ns
        self.key = self.key + period if self.key + period > now else now + period

    def wake(self, now: int) -> None:
        """It wants to run after it did not: what of its budget is still good?"""
        parameters = self.parameters
        until = self.key - now
        if until <= 0 or self.left * parameters.period_ns > until * parameters.budget_ns:
            self.left, self.key = parameters.budget_ns, now + parameters.period_ns

    def alter(self, parameters: Parameters, mask: int, home: int, now: int) -> None:
        """A new reservation gets no more until its deadline than its bandwidth allows."""
        budget, period = parameters.budget_ns, parameters.period_ns
        before = (self.parameters.budget_ns, self.parameters.period_ns, self.home)
        if before != (budget, period, home) and self.key:
            self.key = min(self.key, now + period)
            self.left = min(self.left, max(0, self.key - now) * budget // period)
        self.parameters, self.mask, self.home = parameters, mask, home

    def spend(self, now: int) -> None:
        """It runs: bring `left` up to date. Past its deadline the next budget follows at once."""
        run, self.since = now - self.since, now
        while run >= self.left and now - run + self.left >= self.key:
            run -= self.left
            self.renew(now - run)
        self.over += max(0, run - self.left)
        self.left = max(0, self.left - run)

    def refund(self, unused: int) -> None:
        """So much of what was spent did not happen; less than a kick costs is not worth a run."""
        back = unused - self.over
        if back >= MIN_BUDGET_NS:
            self.left = min(self.left + back, self.parameters.budget_ns)


class Deadline(Generic[T]):
    """Earliest deadline first for reservations, credit for the rest; see the module."""

    name = "deadline"

    def __init__(self, pcpus: int, slice_ns: int) -> None:
        self.pcpus = pcpus
        self._servers: dict[T, Server[T]] = {}
        self._running: dict[int, Server[T]] = {}
        self._rest: Credit[T] = Credit(pcpus, slice_ns)
        self._places: dict[T, int] = {}  # of the others that run

    def add(self, task: T, parameters: Parameters, now: int) -> None:
        """AdmissionError, with how much is missing, if the reservation fits on no pCPU."""
        mask = check(parameters, self.pcpus)
        if parameters.budget_ns:
            home = self._home(parameters, mask)
            self._servers[task] = Server(task, parameters, mask, home)
        else:
            self._rest.add(task, parameters, now)

    def change(self, task: T, parameters: Parameters, now: int) -> None:
        """A larger budget counts from the next period on."""
        mask = check(parameters, self.pcpus)
        server = self._servers.get(task)
        if server is None and not parameters.budget_ns:
            self._rest.change(task, parameters, now)
        elif server is not None and parameters.budget_ns:
            home = self._home(parameters, mask, server)
            if server.pcpu is not None:
                server.spend(now)
            server.alter(parameters, mask, home, now)
        else:
            self._move(task, parameters, now)

    def remove(self, task: T, now: int) -> None:
        """Its bandwidth is free again."""
        if task in self._servers:
            del self._servers[task]
        else:
            self._rest.remove(task, now)

    def ready(self, task: T, now: int, woken: bool) -> None:
        """A server that was asleep, or whose deadline has passed, is looked at anew."""
        server = self._servers.get(task)
        if server is None:
            self._rest.ready(task, now, woken)
            return
        server.waits = True
        if not server.key or (woken and (server.left or now >= server.key)):
            server.wake(now)
        elif now >= server.key:
            server.renew(now)

    def withdraw(self, task: T, now: int) -> None:
        """It waits no more."""
        if task in self._servers:
            self._servers[task].waits = False
        else:
            self._rest.withdraw(task, now)

    def pick(self, pcpu: int, now: int) -> T | None:
        """The earliest deadline of this pCPU's servers; without one, whoever credit says."""
        server = self._first(pcpu, now)
        if server is None:
            task = self._rest.pick(pcpu, now)
            if task is not None:
                self._places[task] = pcpu
            return task
        self.adopt(server.task, pcpu, now)
        return server.task

    def adopt(self, task: T, pcpu: int, now: int) -> None:
        """It runs there; a server that is not at home has to give way and go there."""
        server = self._servers.get(task)
        if server is None:
            self._places[task] = pcpu
            self._rest.adopt(task, pcpu, now)
            return
        if not server.key:
            server.renew(now)
        server.waits, server.pcpu, server.since, server.over = False, pcpu, now, 0
        self._running[pcpu] = server

    def begin(self, task: T, now: int) -> None:
        """Its time counts from here."""
        if task in self._servers:
            self._servers[task].since = now
        else:
            self._rest.begin(task, now)

    def release(self, task: T, now: int, unused: int = 0) -> None:
        """It runs no more; what it could not use of its budget it still has."""
        server = self._servers.get(task)
        if server is None:
            del self._places[task]
            self._rest.release(task, now, unused)
        elif server.pcpu is not None:
            server.spend(now)
            server.refund(unused)
            del self._running[server.pcpu]
            server.pcpu, server.kicked = None, False

    def preempt(self, now: int) -> list[T]:
        """Servers without budget or behind a later deadline, others where a server waits."""
        first = self._waiting(now)
        named = []
        for pcpu, server in self._running.items():
            server.spend(now)
            waiter = first.get(pcpu)
            if not server.left or server.home != pcpu or (waiter and waiter.key < server.key):
                server.kicked = True
                named.append(server.task)
        named += [task for task, pcpu in self._places.items() if pcpu in first]
        return named + [task for task in self._rest.preempt(now) if task not in named]

    def next_look(self, now: int) -> int | None:
        """When a budget is used up, or comes again, or credit has something to say."""
        looks = [s.key for s in self._servers.values() if s.waits and not s.left and s.key > now]
        looks += [s.since + s.left for s in self._running.values() if not s.kicked]
        rest = self._rest.next_look(now)
        return min(looks if rest is None else [*looks, rest], default=None)

    def _waiting(self, now: int) -> dict[int, Server[T]]:
        """By pCPU: who waits there with a budget and the earliest deadline."""
        first: dict[int, Server[T]] = {}
        for server in self._servers.values():
            if server.waits:
                if not server.left and server.key <= now:
                    server.renew(now)
                best = first.get(server.home)
                if server.left and (best is None or server.key < best.key):
                    first[server.home] = server
        return first

    def _first(self, pcpu: int, now: int) -> Server[T] | None:
        return self._waiting(now).get(pcpu)

    def _home(self, parameters: Parameters, mask: int, old: Server[T] | None = None) -> int:
        """The emptiest pCPU that it may use, where it is if that will do."""
        wanted = Fraction(parameters.budget_ns, parameters.period_ns)
        gaps = {pcpu: Fraction(1) for pcpu in range(self.pcpus) if mask >> pcpu & 1}
        for server in self._servers.values():
            if server is not old and server.home in gaps:
                gaps[server.home] -= server.share
        if old and gaps.get(old.home, Fraction(0)) >= wanted:
            return old.home
        home = max(gaps, key=lambda pcpu: gaps[pcpu])
        if gaps[home] < wanted:
            raise AdmissionError(
                f"the reservation takes {_percent(wanted)} of a pCPU, the widest gap is "
                f"{_percent(gaps[home])} on pCPU {home}: {_percent(wanted - gaps[home])} too much"
            )
        return home

    def _move(self, task: T, parameters: Parameters, now: int) -> None:
        """Between servers and the rest, wherever it is: out there, in here."""
        server = self._servers.get(task)
        pcpu = self._places.get(task) if server is None else server.pcpu
        if server is None:
            self._home(parameters, check(parameters, self.pcpus))  # or it stays as it is
        waits = self._rest.waits(task) if server is None else server.waits
        if pcpu is not None:
            self.release(task, now)
        elif waits:
            self.withdraw(task, now)
        self.remove(task, now)
        self.add(task, parameters, now)
        if pcpu is not None:
            self.adopt(task, pcpu, now)
        elif waits:
            self.ready(task, now, woken=False)


def _percent(share: Fraction) -> str:
    percent = float(share) * 100
    return f"{percent:.1f} %" if not 0 < percent < 0.05 else f"{percent:.2g} %"
