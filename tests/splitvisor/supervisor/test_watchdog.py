"""Stuck, or kept from its work: judged by what threads did."""

import pytest

from splitvisor.supervisor.threads import Thread
from splitvisor.supervisor.watchdog import (
    DISK_PATIENCE_MS,
    GLANCE_NS,
    HOST_PATIENCE_MS,
    MS,
    OVERLOAD_FACTOR,
    Sight,
    Watchdog,
)

HALF = 50  # ms; of a patience of 100
START = 1_000_000 * MS
IDLE = {7: Thread("S", 100 * MS, 0)}


def threads(state, run_ms, delay_ms):
    """A service OS's, after it had run for 100 ms."""
    return {7: Thread(state, (100 + run_ms) * MS, delay_ms * MS), 8: Thread("S", 5, 5)}


def glances(watchdog, start, until, service):
    """Between two looks."""
    for now in range(start + GLANCE_NS, until, GLANCE_NS):
        watchdog.glance(now, service)


def judge(service, core=None, ms=2 * HALF, after=HALF, pressure=0.0):
    """The verdict after a first look `after` ms ago; `pressure` is a share of that time."""
    watchdog = Watchdog()
    core_before = {1: Thread("S", 0, 0), 2: Thread("R", 0, 0)}
    first = Sight(START, threads("S", 0, 0), core_before)
    assert not watchdog.stalled("web/disk0", HALF, START, first)
    now = START + after * MS
    glances(watchdog, START, now, {7: Thread("S", 0, 0)})
    sight = Sight(now, service, core or core_before | IDLE, int(pressure * after * MS))
    return watchdog.stalled("web/disk0", ms, now, sight)


QUIET = {1: Thread("S", 0, 0), 2: Thread("R", HALF * MS, 0)}  # 2 is a vCPU


@pytest.mark.parametrize(
    "service",
    [threads("S", 0, 0), threads("S", 1, 1), threads("R", HALF, 0), threads("T", 0, 0)],
    ids=["deadlock", "barely", "spin", "stopped-thread"],
)
def test_it_is_stuck_after_its_patience_if_nothing_kept_it(service):
    assert judge(service, QUIET).startswith(f"web/disk0: nothing completed for {2 * HALF} ms (")


def test_a_process_whose_every_thread_is_stopped_is_called_so():
    stopped = {7: Thread("T", 100 * MS, 0)}
    assert judge(stopped, QUIET).endswith("100 ms (all its threads are stopped)")


def test_what_was_seen_is_told():
    busy = threads("S", 10, 5), QUIET | {1: Thread("S", 3 * MS, 2 * MS)}
    assert judge(*busy, pressure=0.5) == (
        "web/disk0: nothing completed for 100 ms (in 50 ms it was kept from running for 5, the core"
        " for 2, by a disk for 0; unseen for 0; CPU pressure 50%; threads SS)"
    )


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


def look(watchdog, after_ms, ms, state="S", told_ms=None, what=""):
    """What the core told of at once, or at some other time after the start; not much happens."""
    now = START + after_ms * MS
    told = now if told_ms is None else START + told_ms * MS
    sight = Sight(now, threads(state, 0, 0), {1: Thread("S", 0, 0)})
    return watchdog.stalled("web/disk0", ms, told, sight, what)


def watch(watchdog, start_ms, until_ms, state="S"):
    glances(watchdog, START + start_ms * MS, START + until_ms * MS, threads(state, 0, 0))


def test_who_was_at_the_disk_at_the_last_look_had_less_time():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF, "D")
    watch(watchdog, 0, HALF)
    assert not look(watchdog, HALF, 2 * HALF)
    watch(watchdog, HALF, 2 * HALF)
    assert look(watchdog, 2 * HALF, 3 * HALF)


def test_who_was_seen_at_the_disk_in_between_had_less_time_too():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 20)
    watch(watchdog, 20, 35, "D")
    watch(watchdog, 35, HALF)
    assert not look(watchdog, HALF, 2 * HALF)
    watch(watchdog, HALF, 2 * HALF)
    assert look(watchdog, 2 * HALF, 3 * HALF)


def test_who_has_been_at_the_disk_for_long_has_half_of_the_patience_after_it():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 500, "D")
    assert not look(watchdog, 500, 500 + HALF)
    assert not look(watchdog, 510, 560)
    watch(watchdog, 510, 550)
    assert look(watchdog, 550, 600)


def test_a_neighbour_who_is_at_the_disk_now_and_then_excuses_nobody():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 30)
    watchdog.glance(START + 30 * MS, threads("D", 0, 0))
    watch(watchdog, 30, HALF)
    assert look(watchdog, HALF, 2 * HALF)


def test_chances_add_up_on_a_busy_host():
    """Two thirds of each look's time it is kept from running, or unseen: a third counts."""
    watchdog, said = Watchdog(), []
    for n in range(8):
        now, delay = START + n * HALF * MS, n * 33
        sight = Sight(now, threads("S", 0, delay), {1: Thread("S", 0, 0)})
        said.append(watchdog.stalled("web/disk0", (n + 1) * HALF, now, sight))
        glances(watchdog, now, now + HALF * MS, threads("S", 0, delay))
    assert [bool(why) for why in said] == [False] * 3 + [True] * 5


def test_a_core_that_is_kept_from_taking_answers_in_is_an_excuse():
    starved = {1: Thread("S", 2 * MS, 40 * MS), 2: Thread("R", HALF * MS, 0)}
    assert judge(threads("S", 0, 0), starved) == ""


def test_the_host_is_no_excuse_for_ever():
    """In each look some thread of the core waits all the time, as where many others compute."""
    watchdog, ms, why = Watchdog(), HALF, ""
    while not why:
        now = START + ms * MS
        core = {1: Thread("S", 0, ms * MS)}
        why = watchdog.stalled("web/disk0", ms, now, Sight(now, threads("S", 0, 0), core))
        glances(watchdog, now, now + HALF * MS, threads("S", 0, 0))
        ms += HALF
    assert HOST_PATIENCE_MS + 2 * HALF <= ms - HALF <= HOST_PATIENCE_MS + 4 * HALF


def test_vcpus_that_compute_and_wait_for_each_other_are_none():
    busy = {1: Thread("S", 0, 0), 2: Thread("R", 25 * MS, 25 * MS)}
    assert judge(threads("S", 0, 0), busy)


def test_on_an_overloaded_host_the_patience_is_five_times_as_long():
    idle = threads("S", 0, 0)
    longer = 2 * HALF * OVERLOAD_FACTOR
    assert judge(idle, QUIET, ms=longer - 1, pressure=0.9) == ""
    assert judge(idle, QUIET, ms=longer, pressure=0.9)
    assert judge(idle, QUIET, pressure=0.5)


def test_a_completion_in_between_begins_anew():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 500)
    assert not look(watchdog, 500, HALF)
    watch(watchdog, 500, 550)
    assert look(watchdog, 550, 2 * HALF)


@pytest.mark.parametrize("second_ms", [HALF, HALF + 10, 2 * HALF])
def test_so_does_what_may_have_begun_since_it_was_told_of_the_last_one(second_ms):
    """The core looks every 10 ms: of the second stall it may tell at more than of the first."""
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 300)
    assert not look(watchdog, 300, second_ms)
    watch(watchdog, 300, 300 + second_ms)
    assert look(watchdog, 300 + second_ms, 2 * second_ms)


def test_a_stall_of_which_is_told_late_is_the_same_one():
    """The core counts 20 ms at most of the time between two looks of its own."""
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 90)
    assert look(watchdog, 90, 2 * HALF)


def test_two_looks_one_after_the_other_say_nothing_of_the_time_before():
    """Both halves were told of at once, for nobody had listened."""
    watchdog = Watchdog()
    assert not look(watchdog, 400, HALF, told_ms=0)
    assert not look(watchdog, 403, 2 * HALF, told_ms=50)
    assert not look(watchdog, 406, 3 * HALF, told_ms=100)
    watch(watchdog, 406, 440)
    assert look(watchdog, 440, 4 * HALF, told_ms=150)


def test_time_in_which_nobody_looked_is_no_chance():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, 10)
    assert not look(watchdog, HALF, 2 * HALF)
    watch(watchdog, HALF, 2 * HALF)
    assert look(watchdog, 2 * HALF, 3 * HALF)


def test_what_is_told_late_of_an_older_moment_changes_nothing():
    watchdog = Watchdog()
    assert not look(watchdog, 0, HALF)
    watch(watchdog, 0, HALF)
    assert look(watchdog, HALF, 2 * HALF)
    assert not look(watchdog, HALF + 1, 2 * HALF - 10, told_ms=HALF - 10)
    watch(watchdog, HALF, HALF + 10)
    assert look(watchdog, HALF + 10, 2 * HALF + 10)


def test_stalls_of_several_kinds_are_judged_apart():
    watchdog = Watchdog()
    assert not look(watchdog, 0, 500, what="one is late")
    watch(watchdog, 0, 500)
    assert not look(watchdog, 500, HALF)
    assert look(watchdog, 501, 1000, what="one is late").startswith("web/disk0: one is late, for 1")


def test_devices_are_judged_apart():
    watchdog = Watchdog()
    sights = [Sight(START + n * HALF * MS, threads("S", 0, 0), IDLE) for n in range(2)]
    assert not watchdog.stalled("web/disk0", HALF, START, sights[0])
    assert not watchdog.stalled("web/disk1", 2 * HALF, START, sights[0])
    glances(watchdog, START, sights[1].now, threads("S", 0, 0))
    assert watchdog.stalled("web/disk0", 2 * HALF, sights[1].now, sights[1])
