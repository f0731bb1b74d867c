"""Outages and their history."""

import pytest

from splitvisor.supervisor.outage import History, Outage, of_message

MS = 1_000_000


def test_an_outage_is_counted_from_its_detection_to_all_replayed():
    outage = Outage("x", 2 * MS, fenced=3 * MS, promoted=4 * MS, attached=9 * MS, replayed=12 * MS)
    assert outage.total_ms == 10
    steps = {"detect": 0, "fence": 1, "promote": 1, "attach": 5, "replay": 3}
    assert outage.steps_ms() == steps


def test_an_ordered_kill_shows_how_long_detection_took():
    assert Outage("x", 3 * MS, killed=MS).steps_ms() == {"detect": 2}


def test_what_is_not_reached_takes_no_time():
    assert Outage("x", 3 * MS).total_ms == 0
    assert Outage("x", 3 * MS, promoted=5 * MS).steps_ms() == {"detect": 0, "promote": 2}


def test_a_message_has_all_of_it():
    outage = Outage("x", 2, 1, 3, 4, 5, 6, 7, 8, warm=True, planned=True, retried=9)
    assert of_message(outage.message()) == outage


def recover(history, cause, start, length):
    history.begin(cause, start)
    history.fenced(start + 1, "signal 9")
    history.promoted(start + 2, True)
    history.replayed(3)
    history.attached(start + length)
    return history.end(0, start + length + 1)


def test_the_history_has_the_last_and_the_worst():
    history = History()
    assert recover(history, "died", 10 * MS, 5 * MS).cause == "died by signal 9"
    last = recover(history, "stopped", 100 * MS, 2 * MS)
    assert (history.recoveries, history.worst_ms) == (2, pytest.approx(5, abs=0.01))
    assert history.last == last
    assert (last.cause, last.requests, last.total_ms) == ("stopped", 3, pytest.approx(2, abs=0.01))
    assert history.outage is None


def test_what_an_earlier_incarnation_did_in_an_outage_was_in_vain():
    history = History()
    history.begin("died", 1)
    history.promoted(2, True)
    history.replayed(7)
    history.attached(3)
    history.resumed(4)
    history.promoted(5, False)
    outage = history.outage
    assert (outage.requests, outage.attached, outage.first_completion) == (0, 0, 0)


def test_failed_restarts_and_waits_are_a_part_of_their_own():
    history = History()
    history.begin("died", 10 * MS)
    history.fenced(11 * MS, "signal 9")
    assert "retry" not in history.outage.steps_ms()
    history.promoted(13 * MS, True)
    history.attached(14 * MS)
    history.fenced(20 * MS, "signal 11")  # of the one that was to take its place
    assert history.outage.steps_ms() == {"detect": 0, "fence": 1, "retry": 9}
    history.waited(520 * MS)
    history.promoted(620 * MS, False)
    outage = history.end(625 * MS, 630 * MS)
    steps = {"detect": 0, "fence": 1, "retry": 509, "promote": 100, "attach": 5, "replay": 5}
    assert outage.steps_ms() == steps
    assert (outage.total_ms, outage.cause) == (620, "died by signal 9")


def test_the_first_completion_may_come_after_the_end():
    history = History()
    recover(history, "died", 1, 5)
    history.resumed(50)
    history.resumed(60)
    assert history.last.first_completion == 50


def test_a_pause_counts_as_an_upgrade_and_not_among_the_outages():
    history = History()
    history.begin("planned", 1, planned=True)
    history.attached(MS)
    assert history.end(0, 0).replayed == MS
    assert (history.recoveries, history.upgrades, history.worst_ms) == (0, 1, 0)
    history.begin("planned", 1, planned=True)
    history.unplanned()
    history.attached(MS)
    history.end(0, 0)
    assert (history.recoveries, history.upgrades) == (1, 1)
    assert history.end(0, 0) is None


def test_the_cores_moments_count():
    history = History()
    history.begin("died", 10)
    history.attached(50)
    outage = history.end(20, 30)
    assert (outage.attached, outage.replayed) == (20, 30)
