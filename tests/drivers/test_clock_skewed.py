import time

import pytest

from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, make


def begun(keep, options):
    clock = make("clock", f"skewed:{options}", Keep(keep))
    clock.begin()
    return clock


@pytest.mark.parametrize(("by", "seconds"), [("-3600s", -3600), ("2m", 120), ("-5ms", -0.005)])
def test_it_is_wrong_by_so_much(tmp_path, by, seconds):
    clock = begun(tmp_path / "k", f"by={by}")
    before = time.time()
    now = clock.now()
    assert before + seconds - 0.001 <= now <= time.time() + seconds + 0.001
    clock.close()


def test_it_runs_at_its_own_rate_from_when_the_machine_started(tmp_path):
    start = time.time()
    first = begun(tmp_path / "k", "rate=1000")
    began = time.time()
    first.close()  # and whoever comes next goes on with the same clock
    clock = begun(tmp_path / "k", "rate=1000")
    before = time.time()
    now = clock.now()
    after = time.time()
    assert began + (before - began) * 1000 - 1 <= now <= start + (after - start) * 1000 + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k"]
    clock.close()


def test_a_standby_leaves_the_start_to_the_one_that_serves(tmp_path):
    standby = make("clock", "skewed:rate=1000", Keep(tmp_path / "k"))
    assert list(tmp_path.iterdir()) == []
    active = begun(tmp_path / "k", "rate=1000")
    standby.begin()
    earlier, later = active.now(), standby.now()
    assert earlier <= later
    assert later - earlier < 1000
    for clock in (standby, active):
        clock.close()


def test_what_a_death_left_half_done_is_done_again(tmp_path):
    (tmp_path / "k:new").write_bytes(b"\0\0")
    clock = begun(tmp_path / "k", "by=0s")
    assert abs(clock.now() - time.time()) < 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k"]
    clock.close()


def test_a_clock_leaves_that_of_a_device_of_a_similar_name_alone(tmp_path):
    other = begun(tmp_path / "keep.web:rtc0.new", "by=0s")
    clock = begun(tmp_path / "keep.web:rtc0", "by=0s")
    assert {path.name for path in tmp_path.iterdir()} == {"keep.web:rtc0", "keep.web:rtc0.new"}
    for each in (other, clock):
        each.close()


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(SpecError, match="a time such as 5ms or -3600s, not '3600'"):
        check("clock", "skewed:by=3600")
    with pytest.raises(SpecError, match=r"rate -1.0 is none for a clock"):
        check("clock", "skewed:rate=-1")
    with pytest.raises(SpecError, match="rate nan is none for a clock"):
        check("clock", "skewed:rate=nan")
    with pytest.raises(DriverError, match=r"cannot be kept: .*No such file"):
        begun(tmp_path / "missing" / "k", "by=0s")
