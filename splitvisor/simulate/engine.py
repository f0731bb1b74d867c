"""Drives a policy through a scenario, event by event, as the core's scheduler would.

On every event the policy is asked for each free pCPU, then who has to give way, then when to look
again. Unlike the core, this checks every answer: a policy that breaks its contract is told on, with
the virtual time at which it did. Same scenario, same record: nothing here knows a real clock.
"""

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from splitvisor.errors import UserError
from splitvisor.simulate import registry
from splitvisor.simulate.body import Body, Place
from splitvisor.simulate.record import Interval, PcpuAccount, Record, VcpuAccount
from splitvisor.simulate.scenario import PolicyChange, Scenario, VcpuChange
from splitvisor.units import format_duration

_STUCK = 10_000  # decisions at one moment after which a policy is said to go round in circles


def simulate(
    scenario: Scenario,
    begin: int = 0,
    end: int | None = None,
    find: Callable[[str], type[Any]] = registry.find,
) -> Record:
    """Run it to its end; intervals are kept of the window. UserError for what cannot be.

    `find` gives the class of a policy by its name.
    """
    engine = _Engine(scenario, begin, scenario.duration if end is None else end, find)
    engine.run()
    return engine.record


class _Engine:
    def __init__(
        self, scenario: Scenario, begin: int, end: int, find: Callable[[str], type[Any]]
    ) -> None:
        self.scenario = scenario
        self.find = find
        self.now = 0
        self.policy_name = scenario.policy
        self.policy: Any = self.make(scenario.policy, scenario.slice_ns)
        self.bodies = {vcpu.name: Body(vcpu) for vcpu in scenario.vcpus}
        self.pcpus: list[Body | None] = [None] * scenario.pcpus
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        accounts = {name: VcpuAccount(name) for name in self.bodies}
        self.record = Record(begin, end, accounts, [PcpuAccount() for _ in self.pcpus])
        for body in self.bodies.values():
            self.at(body.vcpu.start, partial(self.start, body))
            if body.vcpu.stop is not None:
                self.at(body.vcpu.stop, partial(self.stop, body))
        for change in scenario.changes:
            self.at(change.at, partial(self.change, change))

    def run(self) -> None:
        end, stuck = self.scenario.duration, 0
        while True:
            look = self.policy.next_look(self.now)
            times = [time for time, _, _ in self.events[:1]] + ([] if look is None else [look])
            then = max(self.now, min(times, default=end))
            stuck = stuck + 1 if then == self.now else 0
            if stuck > _STUCK:
                self.broken("it asks for another look without end")
            if then >= end:
                break
            self.now = then
            while self.events and self.events[0][0] <= then:
                heapq.heappop(self.events)[2]()
            self.dispatch()
        self.now = end
        while self.events and self.events[0][0] <= end:  # work done and deadlines met by then count
            heapq.heappop(self.events)[2]()
        for body in self.bodies.values():
            if body.place in (Place.WAITING, Place.RUNNING):
                for deadline in body.overdue(end):
                    self.record.judge(body.name, deadline, False)
            self.leave(body, "goes on", Place.AWAY)

    def at(self, time: int, event: Callable[[], None]) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (time, self.sequence, event))

    def dispatch(self) -> None:
        for _ in range(_STUCK):
            for pcpu, runner in enumerate(self.pcpus):
                if runner is None and (body := self.policy.pick(pcpu, self.now)) is not None:
                    self.put_on(body, pcpu)
            gone = False
            for body in self.policy.preempt(self.now):
                if body.place is not Place.RUNNING:
                    self.broken(f"it preempts {body}, which does not run")
                if not body.kicked:
                    body.kicked = True
                    if self.scenario.kick_cost:
                        gone_at = self.now + self.scenario.kick_cost
                        self.at(gone_at, partial(self.give_way, body, body.turn))
                    else:
                        self.give_way(body, body.turn)
                        gone = True
            if not gone:
                return
        self.broken("it preempts whom it picks without end")

    def put_on(self, body: Body, pcpu: int) -> None:
        if body.place is not Place.WAITING:
            self.broken(f"it picks {body}, which does not wait")
        if body.parameters.affinity and pcpu not in body.parameters.affinity:
            self.broken(f"it picks {body} for pCPU {pcpu}, which is not in its affinity")
        account = self.record.vcpus[body.name]
        if body.woken_at is not None:
            account.longest_wake = max(account.longest_wake, self.now - body.woken_at)
            body.woken_at = None
        self.leave(body, "runs", Place.RUNNING)
        body.pcpu, self.pcpus[pcpu] = pcpu, body
        body.works_from = self.now + self.scenario.switch_cost
        body.turn += 1
        account.switches += 1
        self.record.pcpus[pcpu].switches += 1
        if body.work_left is not None:
            self.at(body.works_from + body.work_left, partial(self.done, body, body.turn))

    def leave(self, body: Body, why: str, place: Place) -> None:
        """Book the time in the place where it was, and move it."""
        if body.place is Place.RUNNING:
            body.run_until(self.now)
            self.record.keep(Interval(body.name, body.pcpu, body.since, self.now, why))
            assert body.pcpu is not None
            self.pcpus[body.pcpu] = None
            body.pcpu, body.kicked = None, False
        elif body.place is Place.WAITING:
            self.record.keep(Interval(body.name, None, body.since, self.now, why))
        if body.place is not Place.AWAY:
            self.record.vcpus[body.name].alive += self.now - body.since
        body.place, body.since = place, self.now

    def give_way(self, body: Body, turn: int) -> None:
        if body.place is Place.RUNNING and body.turn == turn:
            self.policy.release(body, self.now)
            self.leave(body, "gives way", Place.WAITING)
            self.policy.ready(body, self.now, False)

    def done(self, body: Body, turn: int) -> None:
        """It has done the work at hand, if it still runs."""
        if body.place is not Place.RUNNING or body.turn != turn:
            return
        if (deadline := body.deadline) is not None:
            self.record.judge(body.name, deadline, self.now <= deadline)
        self.policy.release(body, self.now)
        self.leave(body, "sleeps", Place.ASLEEP)
        following = body.next_work(self.now)
        if following <= self.now:
            self.wake(body)
        else:
            self.at(following, partial(self.wake, body))

    def wake(self, body: Body) -> None:
        if body.place is Place.ASLEEP and self.now < self.scenario.duration:
            self.record.wake(body.name, self.now)
            body.woken_at = self.now
            self.rise(body)

    def rise(self, body: Body) -> None:
        self.leave(body, "wakes", Place.WAITING)
        self.policy.ready(body, self.now, True)

    def start(self, body: Body) -> None:
        try:
            self.policy.add(body, body.parameters, self.now)
        except ValueError as error:
            raise UserError(f"{self.scenario.origin}vcpus.{body.name}: {error}") from None
        self.leave(body, "starts", Place.ASLEEP)
        self.rise(body)
        self.begin_periods(body)

    def stop(self, body: Body) -> None:
        if body.place is Place.RUNNING:
            self.policy.release(body, self.now)
        elif body.place is Place.WAITING:
            self.policy.withdraw(body, self.now)
        self.policy.remove(body, self.now)
        self.leave(body, "stops", Place.AWAY)
        body.periods += 1

    def change(self, change: VcpuChange | PolicyChange) -> None:
        try:
            if isinstance(change, PolicyChange):
                self.change_policy(change)
                return
            for name, parameters in change.parameters.items():
                body = self.bodies[name]
                if body.place is not Place.AWAY:
                    self.policy.change(body, parameters, self.now)
                body.parameters = parameters
                self.begin_periods(body)
        except (ValueError, UserError) as error:
            raise UserError(f"{change.key}: {error}") from None

    def change_policy(self, change: PolicyChange) -> None:
        policy = self.make(change.policy, change.slice_ns)
        present = [body for body in self.bodies.values() if body.place is not Place.AWAY]
        for body in present:
            policy.add(body, body.parameters, self.now)
        for body in present:
            if body.place is Place.RUNNING:
                policy.adopt(body, body.pcpu, self.now)
            elif body.place is Place.WAITING:
                policy.ready(body, self.now, False)
        self.policy, self.policy_name = policy, change.policy

    def begin_periods(self, body: Body) -> None:
        """Judge, from now on, whether each period of a reserved spinner yields its budget."""
        body.periods += 1
        if body.reserved_spinner and body.place is not Place.AWAY:
            self.begin_period(body, body.periods)

    def begin_period(self, body: Body, periods: int) -> None:
        parameters = body.parameters
        before = self.ran(body)

        def over() -> None:
            if body.periods == periods:
                met = self.ran(body) - before >= parameters.budget_ns
                self.record.judge(body.name, self.now, met)
                self.begin_period(body, periods)

        self.at(self.now + parameters.period_ns, over)

    def ran(self, body: Body) -> int:
        return body.ran + (self.now - body.since if body.place is Place.RUNNING else 0)

    def make(self, name: str, slice_ns: int) -> Any:
        return self.find(name)(self.scenario.pcpus, slice_ns)

    def broken(self, what: str) -> NoReturn:
        when = format_duration(self.now)
        raise UserError(f"policy {self.policy_name!r} is broken: at {when} {what}")
