"""Shares, caps and wake-ups, measured in virtual time, and what must not be remembered."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.credit import CAP_WINDOW_NS, REST_NS, Credit
from policies.parameters import VcpuParameters
from splitvisor.simulate.engine import simulate
from splitvisor.simulate.scenario import Scenario, Vcpu, VcpuChange

MS = 1_000_000
SECOND = 1000 * MS


def spinner(name, **parameters):
    return Vcpu(name, VcpuParameters(**parameters))


def shares(vcpus, seconds, **more):
    """Percent of one pCPU that each got."""
    record = simulate(Scenario("credit", tuple(vcpus), seconds * SECOND, **more), 0, 0)
    return {name: account.run / seconds / SECOND * 100 for name, account in record.vcpus.items()}


@pytest.mark.parametrize("kick_cost", [0, 100_000, 300_000])
@pytest.mark.parametrize(("seconds", "error"), [(10, 0.01), (200, 0.001)])
def test_weights_1_2_4_8_share_one_pcpu_in_that_proportion(kick_cost, seconds, error):
    vcpus = [spinner(str(weight), weight=weight) for weight in (1, 2, 4, 8)]
    found = shares(vcpus, seconds, kick_cost=kick_cost)
    for name, share in found.items():
        assert share == pytest.approx(int(name) / 15 * 100, rel=error)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 65535), min_size=2, max_size=8),
    st.sampled_from([0, 100_000, 300_000]),
)
@example([1, 1, 1, 1, 1, 236], 100_000)  # five that are each a turn ahead at the end
def test_any_weights_share_to_within_a_thousandth_and_to_within_a_turn(weights, kick_cost):
    seconds = 50  # a turn of each of eight is less than a thousandth of it
    vcpus = [spinner(f"{i}", weight=weight) for i, weight in enumerate(weights)]
    found = shares(vcpus, seconds, kick_cost=kick_cost, slice_ns=5 * MS)
    turn = 5 * MS + kick_cost
    virtual = []
    for vcpu, weight in zip(vcpus, weights, strict=True):
        share = found[vcpu.name]
        assert abs(share - weight / sum(weights) * 100) <= 0.1
        virtual.append((Fraction(share) / 100 * seconds * SECOND / weight, Fraction(turn) / weight))
    for one, room in virtual:
        for other, more in virtual:
            assert abs(one - other) <= (room + more) * Fraction(1001, 1000)


def test_the_lightest_is_not_starved_by_the_heaviest():
    found = shares([spinner("a", weight=1), spinner("b", weight=65535)], 400)
    turn = 100 / 400 / 100  # a slice of 400 seconds, in percent
    assert 0 < found["a"] <= 100 / 65536 + turn


def test_several_pcpus_are_shared_from_one_queue_and_never_idle():
    vcpus = [spinner(f"{i}", weight=weight) for i, weight in enumerate((3, 2, 2, 1))]
    found = shares(vcpus, 60, pcpus=2)
    assert sum(found.values()) == 200
    for share, weight in zip(found.values(), (3, 2, 2, 1), strict=True):
        assert share == pytest.approx(weight * 25, rel=0.01)


def test_a_weight_worth_more_than_a_pcpu_leaves_the_others_their_proportion():
    found = shares(
        [spinner(str(weight), weight=weight) for weight in (65535, 200, 100)], 30, pcpus=2
    )
    assert found["65535"] == pytest.approx(100, rel=0.001)
    assert found["200"] == pytest.approx(2 * found["100"], rel=0.01)


def test_pinned_groups_share_their_own_pcpu_whatever_goes_on_elsewhere():
    here = [spinner(f"a{weight}", weight=weight, affinity=frozenset({0})) for weight in (100, 300)]
    there = [spinner(f"b{i}", affinity=frozenset({1})) for i in range(10)]
    found = shares([*here, *there], 30, pcpus=2)
    assert found["a300"] == pytest.approx(75, rel=0.01)
    for vcpu in there:
        assert found[vcpu.name] == pytest.approx(10, rel=0.02)


ALONE = spinner("alone", affinity=frozenset({1}))
CROWD = tuple(spinner(f"c{i}", affinity=frozenset({0})) for i in range(9))


@pytest.mark.parametrize("affinity", [frozenset({1}), frozenset()])
def test_who_ran_alone_for_long_is_not_starved_when_company_comes(affinity):
    late = Vcpu("late", VcpuParameters(affinity=affinity), start=50 * SECOND)
    record = simulate(Scenario("credit", (ALONE, *CROWD, late), 60 * SECOND, pcpus=2))
    assert record.vcpus["alone"].longest_wait <= 100 * MS
    assert record.vcpus["late"].run >= 4 * SECOND


def test_who_ran_alone_for_long_is_not_starved_when_it_joins_the_crowd():
    change = VcpuChange("", 50 * SECOND, {"alone": VcpuParameters(affinity=frozenset({0}))})
    vcpus = (ALONE, *CROWD)
    record = simulate(Scenario("credit", vcpus, 60 * SECOND, pcpus=2, changes=(change,)))
    assert record.vcpus["alone"].run == pytest.approx(51 * SECOND, abs=20 * MS)
    assert record.vcpus["alone"].longest_wait <= 150 * MS
    assert record.vcpus["c0"].longest_wait <= 150 * MS


def test_who_waited_while_a_heavy_one_had_a_pcpu_is_not_starved_when_there_is_but_one():
    """The heavy one could not use what its weight is worth, and has nothing to catch up on."""
    vcpus = (spinner("heavy", weight=60000), spinner("a", weight=100), spinner("b", weight=100))
    lighter = VcpuParameters(weight=100, affinity=frozenset({0}))
    change = VcpuChange("", 50 * SECOND, dict.fromkeys(("heavy", "a", "b"), lighter))
    record = simulate(Scenario("credit", vcpus, 60 * SECOND, pcpus=2, changes=(change,)))
    assert record.vcpus["heavy"].run == pytest.approx((50 + 10 / 3) * SECOND, abs=50 * MS)
    assert record.vcpus["a"].longest_wait <= 100 * MS


def test_who_slept_for_long_does_not_starve_the_others():
    sleeper = Vcpu("sleeper", run=10 * SECOND, sleep=100 * SECOND, start=0)
    record = simulate(Scenario("credit", (sleeper, spinner("a")), 200 * SECOND))
    assert record.vcpus["a"].longest_wait <= 50 * MS


@pytest.mark.parametrize("cap", [1, 10, 30, 50, 77, 99])
@pytest.mark.parametrize("kick_cost", [0, 300_000])
def test_a_cap_is_exact_over_time_even_on_an_idle_pcpu(cap, kick_cost):
    vcpus = [spinner("a", cap=cap), spinner("c")]
    found = shares(vcpus, 20, pcpus=2, kick_cost=kick_cost)
    burst = CAP_WINDOW_NS * 2 / (20 * SECOND) * cap + kick_cost * 100 / (20 * SECOND)
    assert cap - burst <= found["a"] <= cap + burst
    assert found["c"] == 100


def test_caps_leave_the_rest_to_the_others():
    found = shares([spinner("a", cap=10, weight=1000), spinner("b"), spinner("c")], 20)
    assert found["a"] == pytest.approx(10, abs=0.1)
    assert found["b"] == pytest.approx(45, rel=0.005)
    assert found["c"] == pytest.approx(45, rel=0.005)


def test_a_new_cap_and_a_new_weight_take_effect_while_running():
    vcpus = (spinner("a"), spinner("b"))
    changes = (
        VcpuChange("", 10 * SECOND, {"a": VcpuParameters(weight=768)}),
        VcpuChange("", 20 * SECOND, {"a": VcpuParameters(cap=20)}),
        VcpuChange("", 30 * SECOND, {"a": VcpuParameters()}),
    )
    scenario = Scenario("credit", vcpus, 40 * SECOND, changes=changes)
    record = simulate(scenario)
    ran = [0, 0, 0, 0]
    for run in record.intervals:
        if run.vcpu == "a" and run.pcpu == 0:
            ran[run.start // (10 * SECOND)] += run.end - run.start
    for part, percent in zip(ran, (50, 75, 20, 50), strict=True):
        assert part / (10 * SECOND) * 100 == pytest.approx(percent, rel=0.01)


@pytest.mark.parametrize("spinners", [1, 3, 8])
def test_who_uses_less_than_its_share_runs_as_soon_as_it_wakes(spinners):
    io = Vcpu("io", run=200_000, every=5 * MS)
    vcpus = (io, *(spinner(f"s{i}") for i in range(spinners)))
    record = simulate(Scenario("credit", vcpus, 5 * SECOND, kick_cost=300_000))
    after_a_round = [run for run in record.intervals if run.vcpu == "io" and run.start > SECOND]
    waits = [run.end - run.start for run in after_a_round if run.pcpu is None]
    assert len(waits) > 700
    assert max(waits) <= REST_NS + 300_000


def test_who_uses_more_than_its_share_does_not():
    greedy = Vcpu("greedy", run=9 * MS, sleep=100_000)
    vcpus = (greedy, *(spinner(f"s{i}") for i in range(3)))
    record = simulate(Scenario("credit", vcpus, 20 * SECOND))
    assert record.vcpus["greedy"].run / (20 * SECOND) == pytest.approx(0.25, rel=0.02)
    assert record.vcpus["greedy"].longest_wake > 5 * MS


def test_a_storm_of_wakeups_cannot_thrash():
    storm = tuple(Vcpu(f"w{i}", run=10_000, every=100_000, start=i * 7000) for i in range(9))
    record = simulate(Scenario("credit", (*storm, spinner("s")), SECOND // 4))
    runs = sorted((run for run in record.intervals if run.pcpu == 0), key=lambda run: run.start)
    kicked = [run for run in runs if run.why == "gives way"]
    assert kicked
    assert all(run.end - run.start >= REST_NS for run in kicked)


def test_a_woken_one_with_a_smaller_virtual_time_is_named_after_the_rest_and_not_before():
    policy = Credit(1, 10 * MS)
    for task in "ab":
        policy.add(task, VcpuParameters(), 0)
    policy.ready("a", 0, True)
    assert policy.pick(0, 0) == "a"
    policy.ready("b", 100, True)
    assert policy.preempt(100) == []
    assert policy.next_look(100) == REST_NS
    assert policy.preempt(REST_NS) == ["a"]


def test_many_short_runs_cost_exactly_what_one_long_run_does():
    policy = Credit(1, 10 * MS)
    virtual = []
    for pieces, length in ((1, 9999), (9999, 1)):
        policy.add(pieces, VcpuParameters(weight=40000), 0)
        before = policy._last
        policy.ready(pieces, 0, False)
        for now in range(0, pieces * length, length):
            assert policy.pick(0, now) == pieces
            policy.release(pieces, now + length)
            policy.ready(pieces, now + length, False)
        virtual.append(policy._last - before)
        policy.withdraw(pieces, pieces * length)
    assert virtual[0] == virtual[1]


def test_a_weight_that_grows_does_not_wait_out_what_it_ran_when_it_was_small():
    vcpus = (spinner("small", weight=1), spinner("large", weight=60000))
    change = VcpuChange("", 5 * MS, {"small": VcpuParameters(weight=60000)})
    record = simulate(Scenario("credit", vcpus, SECOND, changes=(change,)))
    assert record.vcpus["small"].longest_wait <= 50 * MS
    assert record.vcpus["small"].run == pytest.approx(SECOND / 2, abs=15 * MS)


def test_nobody_else_is_kicked_for_a_pcpu_that_is_promised_already():
    policy = Credit(2, 10 * MS)
    for task, weight in (("a", 256), ("b", 100), ("c", 256)):
        policy.add(task, VcpuParameters(weight=weight), 0)
    policy.ready("a", 0, True)
    assert policy.pick(0, 0) == "a"
    policy.ready("b", 9 * MS, True)
    assert policy.pick(1, 9 * MS) == "b"
    policy.ready("c", 9 * MS, True)
    assert policy.preempt(9 * MS + 1) == ["a"]
    assert policy.preempt(20 * MS) == ["a"]  # by now b has had more of its share
    assert policy.next_look(20 * MS) is None


def test_of_several_that_are_due_the_one_that_had_most_of_its_share_gives_way():
    policy = Credit(2, 10 * MS)
    for task, weight in (("a", 400), ("b", 100), ("c", 256)):
        policy.add(task, VcpuParameters(weight=weight), 0)
        policy.ready(task, 0, True)
    assert [policy.pick(0, 0), policy.pick(1, 0)] == ["a", "b"]
    assert policy.preempt(20 * MS) == ["b"]
