"""Admission, deadlines that are met, and what a server may and may not have."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.deadline import Deadline
from policies.parameters import AdmissionError, VcpuParameters
from splitvisor.simulate.engine import simulate
from splitvisor.simulate.scenario import Scenario, Vcpu, VcpuChange

MS = 1_000_000
SEED = 20_261
SETS, AT_ONCE = 10_000, 1_000


def reserve(budget, period, **more):
    return VcpuParameters(budget_ns=budget, period_ns=period, **more)


def task_set(rng):
    """Reservations that were admitted, each with a vCPU that is periodic, spins, or wants more."""
    pcpus = rng.choice((1, 1, 2))
    policy = Deadline(pcpus, 10 * MS)
    vcpus = [Vcpu(f"spinner{i}") for i in range(rng.randrange(3))]
    start = 0
    for i in range(rng.randint(2, 3 * pcpus + 1)):
        period = rng.randint(1000, 8000) * 1000
        budget = max(100_000, period * rng.randint(5, 70) // 100)
        parameters = reserve(budget, period)
        try:
            policy.add(i, parameters, 0)
        except AdmissionError:
            gap = max(1 - sum(server.share for server in home) for home in homes(policy))
            parameters = reserve(int(gap * period), period)  # all that is left, to the nanosecond
            if parameters.budget_ns < 100_000:
                continue
            policy.add(i, parameters, 0)
        name, start = f"reserved{i}", start + rng.randrange(2 * MS)
        kind = rng.randrange(3)
        if kind == 0:
            vcpus.append(Vcpu(name, parameters, start=start))
        elif kind == 1:
            run, every = parameters.budget_ns, period + rng.randrange(2) * rng.randrange(MS)
            vcpus.append(Vcpu(name, parameters, run=run, every=every, start=start))
        else:
            vcpus.append(
                Vcpu(f"more{i}", parameters, run=budget * 2, sleep=rng.randrange(MS), start=start)
            )
    return Scenario("deadline", tuple(vcpus), 16 * MS, pcpus=pcpus)


def homes(policy):
    servers = policy._servers.values()
    return [[s for s in servers if s.home == pcpu] for pcpu in range(policy.pcpus)]


@pytest.mark.parametrize("first", range(0, SETS, AT_ONCE))
def test_no_admitted_set_misses_a_deadline(first):
    judged = 0
    for number in range(first, first + AT_ONCE):
        scenario = task_set(random.Random(SEED + number))
        record = simulate(scenario, 0, 0, find=lambda name: Deadline)
        for name, account in record.vcpus.items():
            if name.startswith("reserved"):
                assert account.missed == 0, f"seed {SEED + number}: {scenario}"
                judged += account.met
    assert judged > 3 * AT_ONCE


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 100), st.integers(1, 20)), min_size=1, max_size=12),
)
def test_refused_is_exactly_what_fits_into_no_gap(pcpus, wishes):
    policy = Deadline(pcpus, 10 * MS)
    gaps = [Fraction(1)] * pcpus
    for i, (percent, period) in enumerate(wishes):
        parameters = reserve(percent * period * 10_000 + 90_000, period * MS + 90_000)
        share = Fraction(parameters.budget_ns, parameters.period_ns)
        widest = max(gaps)
        if share <= widest:
            policy.add(i, parameters, 0)
            gaps[gaps.index(widest)] -= share
        else:
            with pytest.raises(AdmissionError):
                policy.add(i, parameters, 0)


def test_a_refusal_says_by_how_much():
    policy = Deadline(2, 10 * MS)
    policy.add("a", reserve(9 * MS, 10 * MS), 0)
    policy.add("b", reserve(75 * MS, 100 * MS), 0)
    with pytest.raises(AdmissionError) as refusal:
        policy.add("c", reserve(4 * MS, 10 * MS), 0)
    assert str(refusal.value) == (
        "the reservation takes 40.0 % of a pCPU, the widest gap is 25.0 % on pCPU 1: "
        "15.0 % too much"
    )
    with pytest.raises(AdmissionError, match=r"gap is 10.0 % on pCPU 0: 15.0 % too much"):
        policy.add("c", reserve(25 * MS, 100 * MS, affinity=frozenset({0})), 0)
    policy.add("c", reserve(25 * MS, 100 * MS), 0)
    with pytest.raises(AdmissionError, match=r"1e-06 % too much"):
        policy.change("c", reserve(25 * MS + 1, 100 * MS), 0)
    policy.change("b", VcpuParameters(), 0)
    policy.change("c", reserve(25 * MS + 1, 100 * MS), 0)
    policy.remove("a", 0)
    policy.add("d", reserve(10 * MS, 10 * MS), 0)


def test_a_reserved_one_takes_the_pcpu_of_another_at_once():
    policy = Deadline(1, 10 * MS)
    policy.add("b", VcpuParameters(weight=65535), 0)
    policy.add("r", reserve(MS, 10 * MS), 0)
    policy.ready("b", 0, True)
    assert policy.pick(0, 0) == "b"
    policy.ready("r", 1000, True)
    assert policy.preempt(1000) == ["b"]
    policy.release("b", 1200)
    policy.ready("b", 1200, False)
    assert policy.pick(0, 1200) == "r"
    assert policy.next_look(1200) == 1200 + MS
    assert policy.preempt(1200 + MS) == ["r"]
    policy.release("r", 1300 + MS)
    policy.ready("r", 1300 + MS, False)
    assert policy.pick(0, 1300 + MS) == "b"  # hard: no more until the next period
    assert policy.next_look(1300 + MS) == 1000 + 10 * MS
    assert policy.preempt(1000 + 10 * MS) == ["b"]


def test_the_earlier_deadline_runs():
    policy = Deadline(1, 10 * MS)
    policy.add("long", reserve(10 * MS, 40 * MS), 0)
    policy.add("short", reserve(2 * MS, 8 * MS), 0)
    policy.ready("long", 0, True)
    assert policy.pick(0, 0) == "long"
    policy.ready("short", MS, True)
    assert policy.preempt(MS) == ["long"]


def test_budget_that_a_sleeper_left_is_no_longer_good_later():
    """Abeni and Buttazzo's rule: more than the bandwidth until the deadline starts a new period."""
    policy = Deadline(1, 10 * MS)
    policy.add("a", reserve(4 * MS, 10 * MS), 0)
    policy.ready("a", 0, True)
    assert policy.pick(0, 0) == "a"
    policy.release("a", MS)
    policy.ready("a", 9 * MS, True)  # 3 ms left for 1 ms
    assert policy.pick(0, 9 * MS) == "a"
    assert policy.next_look(9 * MS) == 13 * MS


@pytest.mark.parametrize("kick_cost", [0, 100_000, 300_000])
def test_each_period_yields_its_full_budget_though_kicks_are_late(kick_cost):
    reserved = Vcpu("reserved", reserve(3 * MS, 10 * MS))
    others = tuple(Vcpu(f"s{i}") for i in range(8))
    record = simulate(Scenario("deadline", (reserved, *others), 5000 * MS, kick_cost=kick_cost))
    assert (record.vcpus["reserved"].met, record.vcpus["reserved"].missed) == (500, 0)
    most = 500 * (3 * MS + kick_cost)
    assert 1500 * MS <= record.vcpus["reserved"].run <= most
    shares = [record.vcpus[f"s{i}"].run for i in range(8)]
    assert max(shares) - min(shares) <= 12 * MS


def test_a_whole_pcpu_is_kept_without_a_kick():
    vcpus = (Vcpu("all", reserve(10 * MS, 10 * MS)), Vcpu("none"))
    record = simulate(Scenario("deadline", vcpus, 1000 * MS, kick_cost=300_000))
    assert record.vcpus["all"].run == 1000 * MS
    assert record.vcpus["all"].switches == 1


def test_reservations_come_and_go_while_their_vcpus_run():
    vcpus = (Vcpu("a"), Vcpu("b"), Vcpu("c"))
    changes = (
        VcpuChange("", 200 * MS, {"a": reserve(6 * MS, 10 * MS)}),
        VcpuChange("", 400 * MS, {"a": reserve(2 * MS, 5 * MS)}),
        VcpuChange("", 600 * MS, {"a": VcpuParameters()}),
    )
    record = simulate(Scenario("deadline", vcpus, 900 * MS, changes=changes))
    parts = [0] * 9
    for run in record.intervals:
        if run.vcpu == "a" and run.pcpu is not None:
            parts[run.start // (100 * MS)] += run.end - run.start
    assert sum(parts[2:4]) == pytest.approx(120 * MS, abs=6 * MS)
    assert sum(parts[4:6]) == pytest.approx(80 * MS, abs=4 * MS)
    assert sum(parts[6:]) == pytest.approx(100 * MS, abs=12 * MS)
    assert record.vcpus["a"].missed == 0
    assert sum(account.run for account in record.vcpus.values()) == 900 * MS


def test_a_home_is_within_the_affinity():
    pinned = Vcpu("pinned", reserve(5 * MS, 10 * MS, affinity=frozenset({1})))
    free = tuple(Vcpu(f"free{i}", reserve(5 * MS, 10 * MS)) for i in range(3))
    record = simulate(Scenario("deadline", (pinned, *free, Vcpu("s")), 300 * MS, pcpus=2))
    for name in ("pinned", "free0", "free1", "free2"):
        assert record.vcpus[name].missed == 0
    assert {run.pcpu for run in record.intervals if run.vcpu == "pinned"} <= {1, None}


def test_a_smaller_reservation_frees_its_bandwidth_at_once():
    policy = Deadline(1, 10 * MS)
    policy.add("a", reserve(8 * MS, 10 * MS), 0)
    policy.ready("a", 0, True)
    assert policy.pick(0, 0) == "a"
    policy.change("a", reserve(2 * MS, 10 * MS), 5 * MS)
    assert policy.next_look(5 * MS) == 6 * MS  # a fifth of the 5 ms until its deadline, not 3 ms
    policy.add("b", reserve(8 * MS, 10 * MS), 5 * MS)
