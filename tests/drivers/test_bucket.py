import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bucket import Bucket


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 2)), min_size=1))
def test_no_more_comes_out_than_goes_in(steps):
    rate, burst = 1000.0, 0.5
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for count, pause in steps:
        now += pause
        now += bucket.take(count, now)
        taken += count
        assert taken <= (now + burst) * rate + 1e-6


def test_a_pause_gives_a_burst_and_not_more():
    bucket = Bucket(100, 0.1, 0.0)
    assert bucket.take(10, 50.0) == pytest.approx(0)
    assert bucket.take(10, 50.0) == pytest.approx(0.1)
    assert bucket.take(1, 50.1) == pytest.approx(0.01)
