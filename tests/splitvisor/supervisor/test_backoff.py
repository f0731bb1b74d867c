"""Waiting ever longer."""

from splitvisor.supervisor.backoff import FIRST_DELAY, FREE, LONGEST_DELAY, Backoff


def test_the_first_failures_are_free_and_each_later_one_waits_twice_as_long():
    backoff = Backoff()
    waits = [backoff.failed() for _ in range(FREE + 3)]
    assert waits == [0] * FREE + [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]


def test_nothing_need_be_free():
    backoff = Backoff(free=0)
    assert [backoff.failed() for _ in range(3)] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]


def test_there_is_a_longest_wait():
    backoff = Backoff()
    waits = [backoff.failed() for _ in range(1000)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_DELAY


def test_a_success_ends_the_row():
    backoff = Backoff()
    for _ in range(FREE + 1):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failed() == 0
