"""The same seed brings the same faults, and every fault makes sense."""

from collections import Counter
from dataclasses import replace

import pytest

from splitvisor.chaos.plan import Plan
from splitvisor.chaos.schedule import KINDS, injection
from splitvisor.cli.fault_parsing import parse_fault

PLAN = Plan(seed=1, seconds=10, kinds=tuple(KINDS), guests=3)
ENOUGH = 3000
REQUESTS_IN_A_BATCH = 30


def faults(plan, seed):
    return [injection(plan, seed, number) for number in range(ENOUGH)]


def test_a_pure_function_of_the_seed():
    assert faults(PLAN, 7) == faults(PLAN, 7)
    assert faults(PLAN, 7) != faults(PLAN, 8)
    late = injection(PLAN, 7, ENOUGH - 1)
    assert late == faults(PLAN, 7)[-1]


def test_what_comes_does_not_depend_on_times_or_goals():
    other = replace(PLAN, every=0.2, seconds=1000, recoveries=5, seed=3)
    assert faults(other, 7) == faults(PLAN, 7)


def test_all_kinds_come_equally_often_to_all_guests():
    counts = Counter(one.kind for one in faults(PLAN, 7))
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > ENOUGH / len(KINDS) / 2
    assert {one.guest for one in faults(PLAN, 7)} == {0, 1, 2}


def test_waits_fill_their_range():
    waits = sorted(one.wait for one in faults(PLAN, 7))
    assert 0 <= waits[0] < 0.01
    assert 0.99 < waits[-1] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_can_be_injected(kind):
    seen = set()
    for one in faults(replace(PLAN, kinds=(kind,)), 5):
        assert one.kind == kind
        seen.add(one.at)
        if one.at:
            action = {"zombie": "stop", "kill-recovery": "kill"}.get(kind, kind)
            amounts = {"nth": one.nth, "by": one.by, "size": one.size, "how": one.how}
            made = parse_fault(action, one.at, f"storm/{one.device}", **amounts)
            assert (made.nth, made.device) == (one.nth, one.device)
            assert str(one).startswith(f"{kind} at {one.at} of storm{one.guest}/{one.device}")
        if one.device != "disk0":
            assert one.at != "mid-batch"  # they have no batches of two
    nowhere = {"swap", "upgrade", "kill-both", "kill-standby"}
    assert ("" in seen) == (kind in {"kill", "stop", "zombie", *nowhere})


def test_what_must_not_lead_to_a_failover_is_far_from_patience():
    """A device may be without an answer for 100 ms."""
    for one in faults(replace(PLAN, kinds=("slow",)), 5):
        assert int(one.by.removesuffix("ms")) <= 25
