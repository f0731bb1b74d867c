"""Whoever says too much at once that completes nothing is not listened to any more."""

import pytest

from microhypervisor.errors import PeerFault
from sessions import flood
from sessions.flood import MOST, Flood
from tests.sessions.service import PATIENCE


@pytest.fixture(autouse=True)
def _slow_host(monkeypatch):
    monkeypatch.setattr(flood, "WITHIN_S", PATIENCE)


def test_so_many_and_no_more():
    counted = Flood()
    counted.add(1, 0)
    counted.add(MOST - 1, 0)
    with pytest.raises(PeerFault, match="a flood"):
        counted.add(1, 0)


def test_whatever_is_answered_in_between_begins_anew():
    counted = Flood()
    for answered in range(4):
        counted.add(MOST, answered)


def test_so_does_time(monkeypatch):
    monkeypatch.setattr(flood, "WITHIN_S", -1)
    counted = Flood()
    for _ in range(4):
        counted.add(MOST, 0)
