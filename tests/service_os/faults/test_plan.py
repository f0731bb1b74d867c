import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import faults_pb2 as faults
from protos.faults_pb2 import Fault
from service_os.faults.plan import Plan

POINT = faults.BEFORE_EXECUTE


def armed(**fields):
    plan = Plan()
    plan.arm(Fault(**{"action": faults.KILL, "point": POINT, **fields}))
    return plan


def comes_by(plan, times=1, *, point=POINT, guest="g", device="d", touched=()):
    """For each time: did it act?"""
    return [bool(plan.due(point, guest, device, touched)) for _ in range(times)]


@given(nth=st.integers(0, 6), times=st.integers(0, 6))
def test_it_acts_from_the_nth_time_on_and_so_often(nth, times):
    acted = comes_by(armed(nth=nth, times=times), 10)
    first = max(nth, 1) - 1
    last = first + times if times else 10
    assert acted == [first <= i < last for i in range(10)]


def test_only_what_matches_counts():
    plan = armed(guest="web", device="disk0", nth=2)
    assert comes_by(plan, guest="web", device="disk0") == [False]
    assert comes_by(plan, guest="web", device="disk1") == [False]
    assert comes_by(plan, guest="echo", device="disk0") == [False]
    assert comes_by(plan, guest="web", device="disk0", point=faults.AFTER_EXECUTE) == [False]
    assert comes_by(plan, guest="web", device="disk0") == [True]
    (status,) = plan.list()
    assert (status.id, status.passed, status.acted) == (1, 2, 1)


def test_a_sector_is_matched_by_any_request_that_touches_it():
    plan = armed(sector=7, only_sector=True)
    for touched, acts in (
        ([], False),
        ([range(7)], False),
        ([range(7, 8)], True),
        ([range(2), range(6, 10)], True),
        ([range(8, 9)], False),
        ([range(7, 7)], False),
    ):
        assert comes_by(plan, touched=touched) == [acts]


def test_a_sector_without_the_word_is_none():
    assert comes_by(armed(sector=7), touched=[range(1)]) == [True]


def test_faults_at_one_point_act_in_the_order_of_arming_and_count_their_turns():
    plan = armed(action=faults.DROP)
    plan.arm(Fault(action=faults.RAISE, point=POINT))
    for turn in (1, 2):
        due = plan.due(POINT, "g", "d", ())
        assert [(d.fault.action, d.turn) for d in due] == [
            (faults.DROP, turn),
            (faults.RAISE, turn),
        ]


def test_what_happens_at_once_is_done_when_it_is_listed():
    plan = armed(point=faults.ANYWHERE)
    assert [(s.passed, s.acted) for s in plan.list()] == [(1, 1)]
    assert comes_by(plan, point=faults.ANYWHERE) == [True]


def test_a_list_is_of_a_moment_and_clearing_forgets():
    plan = armed()
    before = plan.list()
    comes_by(plan)
    assert before[0].passed == 0
    assert plan.clear() == 1
    assert plan.list() == []
    assert comes_by(plan) == [False]
    assert plan.arm(Fault(point=POINT)) == 2


def test_nonsense_is_not_armed():
    plan = Plan()
    with pytest.raises(ValueError, match="hang needs a point"):
        plan.arm(Fault(action=faults.HANG))
    assert plan.list() == []
