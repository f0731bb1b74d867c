import time

import pytest

from drivers.interface import Keep, SpecError
from drivers.registry import check, make


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
    with pytest.raises(SpecError, match="iops -1 is not positive: give iops=500, or leave it out"):
        check("block", "throttle:iops=-1,bps=1M,child=(null:size=1M)")
    with pytest.raises(SpecError, match="no limit: give iops=500, bps=10M, or both"):
        check("block", "throttle:child=(memory:size=1M)")


@pytest.mark.parametrize(
    ("limits", "patience"),
    [("iops=10", 0.2), ("bps=16M", 1.1), ("iops=10,bps=8M", 2.1), ("iops=10000000", 0.1)],
)
def test_who_waits_no_longer_than_the_limits_explain_is_not_stuck(tmp_path, limits, patience):
    disk = make("block", f"throttle:{limits},child=(memory:size=1M)", Keep(tmp_path / "kept"))
    assert disk.patience == pytest.approx(patience, abs=1e-3)
    disk.close()
