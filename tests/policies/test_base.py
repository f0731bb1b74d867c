"""What holds for every policy: the core's contract, under any use, with kicks that are late."""

import inspect

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from microhypervisor.sched import policy as core
from policies.credit import Credit
from policies.deadline import Deadline
from policies.parameters import AdmissionError, VcpuParameters
from policies.round_robin import RoundRobin

POLICIES = [RoundRobin, Credit, Deadline]
MS = 1_000_000
METHODS = [name for name in vars(core.Policy) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_what_the_core_asks_for(policy, name):
    def shape(method):
        return list(inspect.signature(method).parameters)

    assert shape(getattr(policy, name)) == shape(getattr(core.Policy, name))
    assert list(inspect.signature(policy).parameters) == ["pcpus", "slice_ns"]


def parameters(pcpus):
    reservation = st.one_of(
        st.just((0, 0)),
        st.tuples(st.integers(100_000, MS), st.integers(MS, 20 * MS)),
    )
    return st.builds(
        lambda weight, cap, reserved, affinity: VcpuParameters(weight, cap, *reserved, affinity),
        st.one_of(st.integers(1, 65535), st.just(256)),
        st.sampled_from([0, 0, 0, 1, 30, 99, 100]),
        reservation,
        st.frozensets(st.integers(0, pcpus - 1)),
    )


class AnyUse(RuleBasedStateMachine):
    """The mechanism's side of the contract, with any events at any time."""

    policy_class = RoundRobin
    PCPUS, TASKS, SLICE = 3, range(7), 10 * MS

    def __init__(self):
        super().__init__()
        self.policy = self.policy_class(self.PCPUS, self.SLICE)
        self.now = 50 * MS
        self.known = {}  # their parameters
        self.waiting = set()
        self.running = {}
        self.kicked = {}  # until when they run on

    def idle(self):
        return sorted(set(self.known) - self.waiting - set(self.running))

    @rule(data=st.data())
    def add(self, data):
        strangers = [task for task in self.TASKS if task not in self.known]
        assume(strangers)
        task, chosen = data.draw(st.sampled_from(strangers)), data.draw(parameters(self.PCPUS))
        try:
            self.policy.add(task, chosen, self.now)
        except AdmissionError:
            return
        self.known[task] = chosen

    @rule(data=st.data())
    def change(self, data):
        assume(self.known)
        task = data.draw(st.sampled_from(sorted(self.known)))
        chosen = data.draw(parameters(self.PCPUS))
        try:
            self.policy.change(task, chosen, self.now)
        except AdmissionError:
            return
        self.known[task] = chosen
        self.dispatch()

    @rule(data=st.data())
    def remove(self, data):
        assume(self.idle())
        task = data.draw(st.sampled_from(self.idle()))
        self.policy.remove(task, self.now)
        del self.known[task]

    @rule(data=st.data(), woken=st.booleans())
    def ready(self, data, woken):
        assume(self.idle())
        task = data.draw(st.sampled_from(self.idle()))
        self.policy.ready(task, self.now, woken)
        self.waiting.add(task)
        self.dispatch()

    @rule(data=st.data())
    def withdraw(self, data):
        assume(self.waiting)
        task = data.draw(st.sampled_from(sorted(self.waiting)))
        self.policy.withdraw(task, self.now)
        self.waiting.remove(task)
        self.dispatch()

    @rule(data=st.data())
    def sleep(self, data):
        assume(self.running)
        self.off(data.draw(st.sampled_from(sorted(self.running))))
        self.dispatch()

    @rule()
    def take_over(self):
        """A fresh policy takes over; kicks that are under way are carried out."""
        fresh = self.policy_class(self.PCPUS, self.SLICE)
        try:
            for task, known in self.known.items():
                fresh.add(task, known, self.now)
        except AdmissionError:  # other homes, other gaps
            return
        for task, pcpu in self.running.items():
            fresh.adopt(task, pcpu, self.now)
        for task in self.waiting:
            fresh.ready(task, self.now, False)
        self.policy = fresh
        self.dispatch()

    @rule(passing=st.integers(0, 30 * MS), latency=st.integers(100_000, 300_000))
    def time(self, passing, latency):
        """As the ticker does: looks when it was told to, and kicks take effect later."""
        until, looks = self.now + passing, 0
        while True:
            times = [until, *self.kicked.values()]
            if (look := self.policy.next_look(self.now)) is not None:
                times.append(max(look, self.now))
                looks = looks + 1 if look <= self.now else 0
                assert looks < 3, "no time passes"
            self.now = min(times)
            for task in [task for task, end in self.kicked.items() if end <= self.now]:
                self.off(task)
                self.policy.ready(task, self.now, False)
                self.waiting.add(task)
            self.dispatch(latency)
            if self.now >= until:
                return

    def allowed(self, task, pcpu):
        affinity = self.known[task].affinity
        return not affinity or pcpu in affinity

    def off(self, task):
        self.policy.release(task, self.now)
        del self.running[task]
        self.kicked.pop(task, None)

    def dispatch(self, latency=200_000):
        for pcpu in set(range(self.PCPUS)) - set(self.running.values()):
            task = self.policy.pick(pcpu, self.now)
            if task is not None:
                assert task in self.waiting
                assert self.allowed(task, pcpu)
                self.waiting.remove(task)
                self.running[task] = pcpu
        for task in self.policy.preempt(self.now):
            assert task in self.running
            self.kicked.setdefault(task, self.now + latency)

    @invariant()
    def nobody_who_may_run_waits_for_a_free_pcpu(self):
        for pcpu in set(range(self.PCPUS)) - set(self.running.values()):
            assert self.policy.pick(pcpu, self.now) is None
            for task in self.waiting:
                known = self.known[task]
                held_back = known.cap or known.budget_ns
                assert held_back or not self.allowed(task, pcpu)

    @invariant()
    def nobody_runs_where_it_may_not_for_longer_than_a_kick(self):
        for task, pcpu in self.running.items():
            assert self.allowed(task, pcpu) or task in self.kicked


@pytest.mark.parametrize("policy", POLICIES)
def test_any_use(policy):
    machine = type("AnyUse", (AnyUse,), {"policy_class": policy})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=120, stateful_step_count=40, deadline=None)
    )
