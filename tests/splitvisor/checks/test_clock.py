"""The rate of the time-stamp counter, against itself."""

from splitvisor.checks.clock import cycles_per_second


def test_it_is_a_rate_that_stays_the_same():
    first, second = cycles_per_second(0.1), cycles_per_second(0.2)
    assert 5e8 < first < 1e10
    assert abs(first - second) < first / 50
