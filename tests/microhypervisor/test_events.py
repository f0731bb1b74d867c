"""What a guest can cause at will is rationed; see test_server.py of control for the rest."""

import pytest

from microhypervisor import events
from microhypervisor.events import EventLog, Rationed
from microhypervisor.limits import EVENT_BURST, EVENT_EVERY_S
from protos import core_pb2


class Heard(EventLog):
    """A log that counts."""

    count = 0

    def emit(self, event):
        self.count += 1


@pytest.mark.parametrize("idle", [0.0, 1000.0])
def test_a_burst_is_told_and_then_one_in_a_while_however_long_nothing_was(monkeypatch, idle):
    now = 50.0
    monkeypatch.setattr(events.time, "monotonic", lambda: now)
    log = Heard()
    rationed = Rationed(log)
    now += idle
    for _ in range(3 * EVENT_BURST):
        rationed.emit(core_pb2.Event())
    assert log.count == EVENT_BURST
    for _ in range(100):
        now += EVENT_EVERY_S / 10
        rationed.emit(core_pb2.Event())
    assert log.count - EVENT_BURST in (9, 10)  # the last bit of a float
