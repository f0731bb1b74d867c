import threading
import time
from pathlib import Path

import pytest

from drivers.interface import Keep, SpecError
from drivers.net_faulty import REORDER_SECONDS, Fate, Faults, Line
from drivers.options import Seconds
from drivers.registry import check, make

FRAMES = [n.to_bytes(4, "big") * 4 for n in range(1000)]
PATIENCE = 30.0


class Sink:
    """Takes frames, and tells when there are so many."""

    def __init__(self):
        self.frames, self.changed = [], threading.Condition()

    def take(self, frames):
        with self.changed:
            self.frames += frames
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= count, PATIENCE)


def test_what_happens_follows_from_the_seed():
    faults = Faults(seed=7, loss=0.1, duplicate=0.1, reorder=0.1)
    once = Fate(faults, "in").of(FRAMES)
    again = Fate(faults, "in")
    assert [f for at in range(0, 1000, 10) for f in again.of(FRAMES[at : at + 10])] == once
    assert Fate(faults, "out").of(FRAMES) != once
    assert Fate(Faults(seed=8, loss=0.1), "in").of(FRAMES) != once


def test_the_chances_are_what_they_are_said_to_be():
    found = Fate(Faults(loss=0.2, duplicate=0.1, reorder=0.3, delay=Seconds(1.0)), "in").of(FRAMES)
    frames = [frame for _, frame in found]
    assert 150 < 1000 - len(set(frames)) < 250
    assert 50 < len(frames) - len(set(frames)) < 120
    late = [delay for delay, _ in found if delay > 1.0]
    assert set(late) == {1.0 + REORDER_SECONDS}
    assert 0.2 < len(late) / len(found) < 0.4


def test_nothing_wrong_is_nothing_changed():
    sink = Sink()
    line = Line(Faults(), "in", sink.take)
    line.start()
    for at in range(0, 1000, 7):
        line.take(FRAMES[at : at + 7])
    sink.wait(1000)
    line.close()
    assert sink.frames == FRAMES


def test_late_frames_are_late_and_in_order_and_dropped_at_the_end():
    sink = Sink()
    line = Line(Faults(delay=Seconds(0.05)), "in", sink.take)
    line.start()
    begun = time.monotonic()
    line.take(FRAMES[:10])
    sink.wait(10)
    assert time.monotonic() - begun >= 0.05
    line.take(FRAMES[10:])
    line.close()
    assert sink.frames == FRAMES[:10]


def test_reordered_frames_come_behind_others():
    sink = Sink()
    line = Line(Faults(reorder=0.2), "in", sink.take)
    line.start()
    line.take(FRAMES)
    sink.wait(1000)
    line.close()
    assert sink.frames != FRAMES
    assert sorted(sink.frames) == FRAMES


def test_both_ways_over_a_switch(tmp_path):
    keep = Keep(Path("/nonexistent"))
    bad = make("net", "faulty:loss=1,child=(switch:name=lan)", keep)
    good = make("net", "switch:name=lan", keep)
    sinks = Sink(), Sink()
    for driver, sink in zip((bad, good), sinks, strict=True):
        driver.begin()
        driver.start(sink.take, lambda: None)
        driver.send([memoryview(b"\xff" * 6 + bytes(10))])
    bad.close()
    good.close()
    assert [sink.frames for sink in sinks] == [[], []]


def test_a_standby_that_never_serves_is_closed():
    make("net", "faulty:child=(switch:name=lan)", Keep(Path("/nonexistent"))).close()


@pytest.mark.parametrize("option", ["loss=1.1", "duplicate=-0.1", "reorder=2"])
def test_a_chance_that_is_none_is_refused(option):
    with pytest.raises(SpecError, match="give a chance from 0 to 1"):
        check("net", f"faulty:{option},child=(null)")
