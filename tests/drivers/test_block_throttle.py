import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.block_throttle import Bucket
from drivers.interface import Keep, SpecError
from drivers.registry import check, make


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


@pytest.mark.parametrize("limit", ["iops=100", "bps=400K"])
def test_requests_wait_for_their_turn(tmp_path, limit):
    disk = make(
        "block", f"throttle:{limit},burst=10ms,child=(memory:size=1M)", Keep(tmp_path / "k")
    )
    began, data = time.monotonic(), memoryview(bytes(4096))
    for i in range(21):
        disk.write(i * 4096, data)
    assert time.monotonic() - began >= (21 - 1) / 100 - 0.01
    into = memoryview(bytearray(4096))
    disk.read(0, into)
    assert into == data
    disk.close()


def test_a_throttle_without_a_limit_is_refused():
    with pytest.raises(SpecError, match="no limit: give iops=500, bps=10M, or both"):
        check("block", "throttle:child=(memory:size=1M)")
