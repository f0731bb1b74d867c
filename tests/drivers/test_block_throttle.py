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
    with pytest.raises(SpecError, match="no limit: give iops=500, bps=10M, or both"):
        check("block", "throttle:child=(memory:size=1M)")
