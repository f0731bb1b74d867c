"""Stuck, or kept from its work: judged by what threads did."""

import pytest

from splitvisor.supervisor.threads import Thread
from splitvisor.supervisor.watchdog import DISK_PATIENCE_MS, MS, OVERLOAD_FACTOR, Sight, Watchdog

HALF = 50  # ms; of a patience of 100
START = 1_000_000 * MS
IDLE = {7: Thread("S", 100 * MS, 0)}


def threads(state, run_ms, delay_ms):
    """A service OS's, after it had run for 100 ms."""
    return {7: Thread(state, (100 + run_ms) * MS, delay_ms * MS), 8: Thread("S", 5, 5)}


def judge(service, core=None, ms=2 * HALF, after=HALF, pressure=0.0):
    """The verdict after a first look `after` ms ago; `pressure` is a share of that time."""
    watchdog = Watchdog()
    core_before = {1: Thread("S", 0, 0), 2: Thread("R", 0, 0)}
    first = Sight(START, threads("S", 0, 0), core_before)
    assert not watchdog.stalled("web/disk0", HALF, first)
    now = START + after * MS
    sight = Sight(now, service, core or core_before | IDLE, int(pressure * after * MS))
    return watchdog.stalled("web/disk0", ms, sight)


QUIET = {1: Thread("S", 0, 0), 2: Thread("R", HALF * MS, 0)}  # 2 is a vCPU


@pytest.mark.parametrize(
    "service",
    [threads("S", 0, 0), threads("S", 1, 1), threads("R", HALF, 0), threads("T", 0, 0)],
    ids=["deadlock", "barely", "spin", "stopped-thread"],
)
def test_it_is_stuck_after_its_patience_if_nothing_kept_it(service):
    assert judge(service, QUIET) == f"web/disk0: nothing completed for {2 * HALF} ms"


def test_a_process_whose_every_thread_is_stopped_is_called_so():
    stopped = {7: Thread("T", 100 * MS, 0)}
    assert judge(stopped, QUIET).endswith("all its threads are stopped")


@pytest.mark.parametrize(
    "service",
    [
        threads("S", 5, 45),  # it waited for a processor and then had little
        threads("R", 0, 0),  # it is waiting since the first look
        threads("R", 2, 0),  # nearly as long
        threads("D", 0, 0),  # for a disk
    ],
    ids=["waited", "waits", "waits-again", "disk"],
)
def test_who_is_kept_from_running_is_not_stuck(service):
    assert judge(service, QUIET) == ""


def test_but_it_is_once_it_had_its_patience_on_a_busy_host():
    """Half of the time on a processor: the patience lasts twice as long."""
    assert judge(threads("R", 50, 50), QUIET, ms=145, after=95) == ""
    assert judge(threads("R", 80, 80), QUIET, ms=210, after=160)


def test_a_disk_may_take_its_time_but_not_for_ever():
    assert judge(threads("D", 0, 0), QUIET, ms=DISK_PATIENCE_MS - 1) == ""
    assert judge(threads("D", 0, 0), QUIET, ms=DISK_PATIENCE_MS)


def test_who_was_at_the_disk_at_the_last_look_had_less_time():
    watchdog = Watchdog()
    states = ["D", "S", "S"]  # it came back, and then did nothing
    sights = [Sight(n * HALF * MS, threads(s, 0, 0), IDLE) for n, s in enumerate(states)]
    said = [watchdog.stalled("g/d", (n + 1) * HALF, sight) for n, sight in enumerate(sights)]
    assert said[:2] == ["", ""]
    assert said[2]


def test_who_was_seen_at_the_disk_in_between_had_less_time_too():
    watchdog = Watchdog()
    assert not watchdog.stalled("g/d", HALF, Sight(START, threads("S", 0, 0), IDLE))
    for state in "SDS":
        watchdog.glance("g/d", threads(state, 0, 0))
    later = [Sight(START + n * HALF * MS, threads("S", 0, 0), IDLE) for n in (1, 2)]
    assert not watchdog.stalled("g/d", 2 * HALF, later[0])
    assert watchdog.stalled("g/d", 3 * HALF, later[1])


def test_a_core_that_is_kept_from_taking_answers_in_is_an_excuse():
    starved = {1: Thread("S", 2 * MS, 40 * MS), 2: Thread("R", HALF * MS, 0)}
    assert judge(threads("S", 0, 0), starved) == ""


def test_vcpus_that_compute_and_wait_for_each_other_are_none():
    busy = {1: Thread("S", 0, 0), 2: Thread("R", 25 * MS, 25 * MS)}
    assert judge(threads("S", 0, 0), busy)


def test_on_an_overloaded_host_the_patience_is_five_times_as_long():
    idle = threads("S", 0, 0)
    longer = 2 * HALF * OVERLOAD_FACTOR
    assert judge(idle, QUIET, ms=longer - 1, pressure=0.9) == ""
    assert judge(idle, QUIET, ms=longer, pressure=0.9)
    assert judge(idle, QUIET, pressure=0.5)


def look(after_ms):
    return Sight(START + after_ms * MS, threads("S", 0, 0), {1: Thread("S", 0, 0)})


def test_a_completion_in_between_begins_anew():
    watchdog = Watchdog()
    assert not watchdog.stalled("web/disk0", HALF, look(0))
    assert not watchdog.stalled("web/disk0", HALF, look(500))
    assert watchdog.stalled("web/disk0", 2 * HALF, look(550))


def test_devices_are_judged_apart():
    watchdog = Watchdog()
    assert not watchdog.stalled("web/disk0", HALF, look(0))
    assert not watchdog.stalled("web/disk1", 2 * HALF, look(0))
    assert watchdog.stalled("web/disk0", 2 * HALF, look(HALF))
