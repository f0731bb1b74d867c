"""Accounts in a time of the test's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microhypervisor.sched.accounting import LATENCIES, Account, State

US = 1000


@given(st.integers(0), st.lists(st.tuples(st.sampled_from(State), st.integers(0, 10**12))))
def test_every_nanosecond_is_booked_to_exactly_one_state(born, moves):
    account, now, expected = Account(born), born, dict.fromkeys(State, 0)
    for state, later in moves:
        expected[account.state] += later
        now += later
        account.move(state, now)
    expected[account.state] += 7
    assert {state: account.spent(state, now + 7) for state in State} == expected
    assert account.switches == sum(state is State.RUNNING for state, _ in moves)


def test_it_begins_paused():
    account = Account(100)
    assert account.state is State.PAUSED
    assert account.spent(State.PAUSED, 150) == 50


def test_a_look_at_a_time_before_the_last_move_takes_nothing_back():
    account = Account(100)
    account.move(State.READY, 200)
    assert account.spent(State.READY, 150) == 0
    assert account.spent(State.PAUSED, 150) == 100


def woken(latency):
    """The bucket of a wake-up that took that many nanoseconds."""
    account = Account(0)
    account.move(State.HALTED, 10)
    account.move(State.READY, 20)
    account.move(State.RUNNING, 20 + latency // 2)
    account.entered(20 + latency)
    assert account.wakes == sum(account.wake_latency) == 1
    return account.wake_latency.index(1)


@pytest.mark.parametrize(
    ("latency", "bucket"),
    [
        *((0, 0), (1, 0), (US, 0), (US + 1, 1), (2 * US, 1), (2 * US + 1, 2)),
        *((1024 * US, 10), (1024 * US + 1, 11), ((1 << 22) * US, 22)),
        *(((1 << 22) * US + 1, 23), (10**15, 23)),
    ],
)
def test_bucket_n_has_what_took_up_to_two_to_the_n_microseconds(latency, bucket):
    assert woken(latency) == bucket


@given(st.integers(1, 1 << 40))
def test_every_wake_up_is_in_the_smallest_bucket_that_holds_it(latency):
    bucket = woken(latency)
    assert latency <= US << bucket or bucket == LATENCIES - 1
    assert bucket == 0 or latency > US << bucket - 1


@pytest.mark.parametrize("before", [State.PAUSED, State.BLOCKED, State.RUNNING, State.READY])
def test_only_who_was_halted_is_woken(before):
    account = Account(0)
    account.move(before, 10)
    account.move(State.READY, 20)
    account.entered(30)
    assert (account.wakes, sum(account.wake_latency)) == (0, 0)


def test_a_wake_up_ends_once():
    account = Account(0)
    account.move(State.HALTED, 0)
    account.move(State.READY, 0)
    account.entered(10)
    account.entered(20)
    assert account.wakes == 1
    account.move(State.HALTED, 30)
    account.move(State.READY, 40)
    account.entered(50)
    assert account.wakes == 2
