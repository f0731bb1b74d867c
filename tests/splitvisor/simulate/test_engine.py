"""The simulator against small schedules that can be worked out by hand, and broken policies."""

import pytest

from policies.parameters import VcpuParameters
from policies.round_robin import RoundRobin
from splitvisor.errors import UserError
from splitvisor.simulate.engine import simulate
from splitvisor.simulate.scenario import PolicyChange, Scenario, Vcpu, VcpuChange

MS = 1_000_000


def runs(record):
    """Who ran when, milliseconds."""
    return [
        (run.vcpu, run.pcpu, run.start / MS, run.end / MS, run.why)
        for run in sorted(record.intervals, key=lambda run: (run.start, run.vcpu))
        if run.pcpu is not None
    ]


def test_two_spinners_take_turns():
    record = simulate(Scenario("round_robin", (Vcpu("a"), Vcpu("b")), 35 * MS))
    assert runs(record) == [
        ("a", 0, 0, 10, "gives way"),
        ("b", 0, 10, 20, "gives way"),
        ("a", 0, 20, 30, "gives way"),
        ("b", 0, 30, 35, "goes on"),
    ]
    a = record.vcpus["a"]
    assert (a.alive, a.run, a.wait, a.switches) == (35 * MS, 20 * MS, 15 * MS, 2)
    assert a.longest_wait == 10 * MS
    assert (record.pcpus[0].busy, record.pcpus[0].switches) == (35 * MS, 4)


def test_costs_of_kicks_and_switches_are_charged_to_who_causes_them():
    vcpus = (Vcpu("a", run=12 * MS, sleep=MS), Vcpu("b"))
    record = simulate(Scenario("round_robin", vcpus, 40 * MS, kick_cost=MS, switch_cost=2 * MS))
    assert runs(record) == [
        ("a", 0, 0, 11, "gives way"),  # 2 of which it did no work
        ("b", 0, 11, 22, "gives way"),
        ("a", 0, 22, 27, "sleeps"),  # 2, and the 3 that were left
        ("b", 0, 27, 38, "gives way"),
        ("a", 0, 38, 40, "goes on"),
    ]
    assert record.vcpus["a"].longest_wake == 10 * MS


def test_work_that_comes_regularly_keeps_its_deadlines_or_not():
    alone = simulate(Scenario("round_robin", (Vcpu("a", run=MS, every=10 * MS),), 100 * MS))
    assert (alone.vcpus["a"].met, alone.vcpus["a"].missed) == (10, 0)
    vcpus = (Vcpu("s"), Vcpu("a", run=MS, every=10 * MS))
    beside = simulate(Scenario("round_robin", vcpus, 35 * MS))
    assert runs(beside)[1] == ("a", 0, 10, 11, "sleeps")  # one late, and the next there already
    account = beside.vcpus["a"]
    assert (account.met, account.missed) == (0, 3)
    assert beside.misses[0] == (10 * MS, "a")


def test_vcpus_come_and_go():
    vcpus = (Vcpu("a", stop=4 * MS), Vcpu("b", start=2 * MS, stop=6 * MS), Vcpu("c", start=7 * MS))
    record = simulate(Scenario("round_robin", vcpus, 10 * MS))
    assert runs(record) == [
        ("a", 0, 0, 4, "stops"),
        ("b", 0, 4, 6, "stops"),
        ("c", 0, 7, 10, "goes on"),
    ]
    assert record.vcpus["b"].alive == 4 * MS


def test_an_affinity_that_changes_moves_its_vcpu():
    change = VcpuChange("k", 20 * MS, {"a": VcpuParameters(affinity=frozenset({1}))})
    vcpus = (Vcpu("a"), Vcpu("b"))
    record = simulate(Scenario("round_robin", vcpus, 60 * MS, 2, changes=(change,)))
    assert [run[:4] for run in runs(record)] == [
        ("a", 0, 0, 20),
        ("b", 1, 0, 20),
        ("a", 1, 20, 60),
        ("b", 0, 20, 60),
    ]


def test_another_policy_takes_over_who_runs_and_who_waits():
    change = PolicyChange("k", 15 * MS, "round_robin", 4 * MS)
    record = simulate(Scenario("credit", (Vcpu("a"), Vcpu("b")), 25 * MS, changes=(change,)))
    assert [run[:4] for run in runs(record)][-3:] == [
        ("a", 0, 10.5, 19),
        ("b", 0, 19, 23),
        ("a", 0, 23, 25),
    ]


def test_what_is_refused_names_its_place():
    reserved = VcpuParameters(budget_ns=6 * MS, period_ns=10 * MS)
    vcpus = (Vcpu("a", reserved), Vcpu("b"))
    change = VcpuChange("changes[0]", MS, {"b": reserved})
    with pytest.raises(UserError, match=r"^changes\[0\]: the reservation takes 60.0 %"):
        simulate(Scenario("deadline", vcpus, 10 * MS, changes=(change,)))
    with pytest.raises(UserError, match=r"^vcpus.c: the reservation takes 60.0 %"):
        simulate(Scenario("deadline", (*vcpus, Vcpu("c", reserved)), 10 * MS))


class _Picks(RoundRobin):
    def pick(self, pcpu, now):
        super().pick(pcpu, now)
        return list(self._accounts)[-1]


class _Forbidden(RoundRobin):
    def pick(self, pcpu, now):
        return super().pick(1 - pcpu, now)


class _Preempts(RoundRobin):
    def preempt(self, now):
        return list(self._accounts)


class _Restless(RoundRobin):
    def next_look(self, now):
        return now


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (_Picks, "it picks c, which does not wait"),
        (_Forbidden, "it picks a for pCPU 0, which is not in its affinity"),
        (_Preempts, "it preempts c, which does not run"),
        (_Restless, "it asks for another look without end"),
    ],
)
def test_a_policy_that_breaks_its_contract_is_told_on(policy, words):
    vcpus = (Vcpu("a", VcpuParameters(affinity=frozenset({1}))), Vcpu("b"), Vcpu("c"))
    with pytest.raises(UserError, match=f"policy 'mine' is broken: at .*{words}"):
        simulate(Scenario("mine", vcpus, 50 * MS, pcpus=2), find=lambda name: policy)


def test_only_the_window_is_remembered_but_all_is_accounted_for():
    scenario = Scenario("round_robin", (Vcpu("a"), Vcpu("b")), 100 * MS)
    record = simulate(scenario, 45 * MS, 55 * MS)
    assert [run[:4] for run in runs(record)] == [("a", 0, 40, 50), ("b", 0, 50, 60)]
    assert record.vcpus["a"].run == 50 * MS
