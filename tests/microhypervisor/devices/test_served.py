"""A device between incarnations: held for the next, and at its guest's end."""

import os
import threading

import pytest

from microhypervisor.devices import served
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from protos import core_pb2, io_pb2
from tests.microhypervisor.devices.hands import accept, collect
from tests.sessions.service import HEADER, PATIENCE, Rig, described, eventually


def test_quiescing_asks_for_what_parks_to_be_answered(rig):
    rig.submit(0, number=1)
    (entry,) = collect(rig).values()
    rig.device.quiesce(PATIENCE)
    assert rig.device.next_control().HasField("reset")
    assert not rig.device.wait_drained(0)
    accept(rig, entry)
    assert rig.device.wait_drained(0)


def quiescing(rig):
    """A thread that ends when the device has come to rest, and does not yet."""
    ending = threading.Thread(target=rig.device.quiesce, args=(PATIENCE,))
    ending.start()
    eventually(lambda: rig.device._drained._waiters)
    return ending


def test_quiescing_waits_for_what_does_not_park(rig):
    rig.submit(1)
    (entry,) = collect(rig).values()
    ending = quiescing(rig)
    accept(rig, entry, written=1)
    ending.join(PATIENCE)
    assert rig.rings[0].take() == [(1, 1)]
    assert rig.device.wait_drained(0)


@pytest.mark.parametrize("held", [False, True])
def test_what_nobody_serves_waits_for_the_next_to_serve_it(rig, held):
    rig.device.hold(held)
    rig.device.lost(rig.device.turn)
    rig.submit(0)
    ending = quiescing(rig)
    rig.device.adopt(described())  # by then another one serves
    rig.device.begin_epoch()
    (entry,) = collect(rig).values()
    accept(rig, entry)
    ending.join(PATIENCE)
    assert not ending.is_alive()
    assert rig.rings[0].take() == [(0, 0)]


def test_who_served_before_takes_nothing_along_when_it_goes(rig):
    before = rig.device.turn
    rig.device.begin_epoch()
    rig.device.lost(before)
    assert rig.device.served
    rig.device.lost(rig.device.turn)
    assert not rig.device.served


def test_who_does_not_come_in_time_is_given_up(rig, monkeypatch):
    monkeypatch.setattr(served, "OUTAGE_GRACE_S", 0.01)
    rig.submit(0)
    collect(rig)
    rig.device.lost(rig.device.turn)
    rig.device.quiesce(PATIENCE)
    assert not rig.device.wait_drained(PATIENCE)


def test_a_held_device_leaves_requests_in_the_ring_until_somebody_attaches(rig):
    rig.device.hold(True)
    rig.submit(0)
    assert collect(rig) == {}
    assert not rig.device.listen()  # or its session would never sleep
    rig.device.adopt(described())
    assert rig.device.listen()
    assert list(collect(rig)) == [0]


def test_a_device_that_is_closed_rings_nobody(memory):
    device = VirtioDevice("g", core_pb2.DeviceConfig(name="disk"), memory, None)
    number = device.doorbell
    device.close()
    other = os.memfd_create("other")
    os.dup2(other, number)  # who opens something next has the doorbell's number
    device.ring()
    assert os.fstat(number).st_size == 0
    for fd in {other, number}:
        os.close(fd)


def test_what_parks_is_owed_by_nobody(rig):
    assert not rig.device.owes()
    rig.submit(0, number=1)
    collect(rig)
    assert not rig.device.owes()
    rig.submit(1)
    (entry,) = collect(rig).values()
    assert rig.device.owes()
    assert not rig.device.wait_answered(lambda: False, 0)
    assert rig.device.wait_answered(lambda: True, 0)
    accept(rig, entry)
    assert not rig.device.owes()
    assert rig.device.wait_answered(lambda: False, 0)


def test_patience_and_failure_may_change_from_one_incarnation_to_the_next(rig):
    assert rig.device.description() == described()
    newer = described(patience_ms=5, failure=b"\1")
    rig.device.adopt(newer)
    assert rig.device.description() == newer


@pytest.fixture
def ordered(memory):
    """A running device whose requests are answered in the order they came."""
    rig = Rig(memory)
    rig.device.adopt(described(io_pb2.Queue(max_size=8, header_bytes=HEADER, ordered=True)))
    rig.device.begin_epoch()
    rig.start(queues=1)
    while rig.device.next_control():
        pass
    yield rig
    rig.close()


def test_what_overtakes_a_lost_completion_is_not_given_to_the_guest(ordered):
    ordered.submit(0, 1, 2, 3)
    entries = collect(ordered)
    with pytest.raises(PeerFault, match="a completion of queue 0 was lost"):
        accept(ordered, entries[0], entries[2], entries[3])
    assert ordered.rings[0].take() == [(0, 0)]
    _, again = ordered.device.begin_epoch()
    assert [entry.head for entry in again] == [1, 2, 3]
    accept(ordered, *again)
    assert ordered.rings[0].take() == [(1, 0), (2, 0), (3, 0)]


def test_a_completion_of_an_ordered_queue_that_is_dropped_is_missing(ordered):
    ordered.submit(0, 1)
    entries = collect(ordered)
    accept(ordered, entries[0], written=1 << 20)
    with pytest.raises(PeerFault):
        accept(ordered, entries[1])
    assert ordered.rings[0].take() == []


def test_an_ordered_device_changes_no_state(ordered):
    ordered.submit(0)
    (entry,) = collect(ordered).values()
    done = [io_pb2.Completion(slot=entry.slot, generation=entry.generation)]
    ordered.device.accept(io_pb2.Completions(epoch=1, completions=done, state=b"x"), 1, None)
    assert (ordered.rings[0].take(), ordered.device.state) == ([], b"")
    assert ordered.device.status.dropped == 1
