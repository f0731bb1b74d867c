"""Back-off and outages, by example and by property."""

from hypothesis import given
from hypothesis import strategies as st

from splitvisor.supervisor.deaths import FREE, LONGEST_DELAY, WINDOW, Deaths, Outage


def test_deaths_far_apart_never_wait():
    deaths = Deaths()
    assert [deaths.add(i * WINDOW, "signal 9") for i in range(100)] == [0.0] * 100
    assert (deaths.count, deaths.last) == (100, "signal 9")


def test_a_series_waits_twice_as_long_each_time():
    deaths = Deaths()
    assert [deaths.add(i / 100, "") for i in range(7)] == [0, 0, 0, 0.1, 0.2, 0.4, 0.8]


def test_after_a_quiet_time_the_series_is_forgotten():
    deaths = Deaths()
    for i in range(6):
        deaths.add(float(i) / 100, "")
    assert deaths.add(100.0, "") == 0.0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40))
def test_delays_are_bounded_and_only_grow_within_a_window(gaps):
    deaths, now, times = Deaths(), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        delay = deaths.add(now, "")
        recent = [time for time in times if time > now - WINDOW]
        assert 0 <= delay <= LONGEST_DELAY
        assert (delay == 0) == (len(recent) <= FREE)


def test_an_outage_is_counted_from_the_death_noticed():
    outage = Outage(noticed=2_000_000, reaped=3_000_000, started=9_000_000, attached=12_000_000)
    assert outage.total_ms == 10
    assert outage.steps_ms() == {"noticed": 0, "reaped": 1, "restarted": 6, "attached": 3}


def test_a_kill_that_was_ordered_shows_how_long_noticing_took():
    outage = Outage(killed=1_000_000, noticed=2_000_000, reaped=2_000_000)
    assert outage.steps_ms()["noticed"] == 1
