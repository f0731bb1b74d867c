"""Devices taken from an incarnation that lives: a pause, and only what was parked is replayed."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from protos import core_pb2 as pb
from sessions import service as module
from tests.sessions.service import PATIENCE, eventually, slots
from tests.sessions.services import background

LONG_MS = PATIENCE * 1000


def released(services):
    """Begin to release; the thread and its result, when nothing new goes out any more."""
    release = background(services.directory.release, "main", LONG_MS)
    eventually(lambda: all(a.device.held for a in services.directory.attachments))
    return release


def test_what_is_in_flight_is_waited_for_and_what_comes_waits(services):
    disks = [services.disk("disk0"), services.disk("disk1")]
    first = [services.made[1, name] for name in ("disk0", "disk1")]
    disks[0].submit(0)
    (request,) = first[0].take_batch()
    thread, result = released(services)
    disks[0].submit(1)
    disks[1].submit(1)
    assert first[0].idle(disks[0].device)
    assert not first[1].ended.is_set()  # none is taken before all can be
    first[0].complete(request)
    thread.join(PATIENCE)
    assert result == [None]
    assert disks[0].done() == [0]
    assert all(service.ended.is_set() for service in first)
    event = services.next(pb.EVENT_SERVICE_RELEASED)
    assert (event.service, event.epoch) == ("main", 1)
    assert services.directory.epoch_of(disks[0].device) is None
    services.connect(2)
    for name, disk in zip(("disk0", "disk1"), disks, strict=True):
        second = services.made[2, name]
        second.take_control("activate")
        second.complete(*second.take_batch())  # which is no replay
        assert disk.done() == [1]
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_parked_requests_are_not_waited_for_and_go_to_the_next(services):
    disk = services.disk("disk0")
    disk.submit(2, number=1)
    services.made[1, "disk0"].take_batch()
    services.directory.release("main", LONG_MS)
    services.connect(2)
    second = services.made[2, "disk0"]
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [8 + 2]


def test_too_late_and_the_incarnation_serves_on(services):
    disks = [services.disk("disk0"), services.disk("disk1")]
    first = [services.made[1, name] for name in ("disk0", "disk1")]
    disks[1].submit(0)
    (request,) = first[1].take_batch()
    with pytest.raises(
        PeerFault, match="g/disk1 still has requests in flight after 1 ms"
    ) as raised:
        services.directory.release("main", 1)
    assert raised.value.refusal is Refusal.TOO_LATE
    for disk, service in zip(disks, first, strict=True):
        disk.submit(5)
        service.complete(*service.take_batch())
        assert disk.done() == [5]
    first[1].complete(request)
    assert disks[1].done() == [0]
    services.directory.release("main", LONG_MS)


def test_what_a_reset_left_behind_is_waited_for(services):
    disk = services.disk("disk0")
    first = services.made[1, "disk0"]
    disk.submit(0)
    requests = first.take_batch()
    disk.start()
    thread, result = released(services)
    assert not first.ended.is_set()
    first.complete(*requests)
    thread.join(PATIENCE)
    assert result == [None]


def test_an_incarnation_that_dies_meanwhile_is_released(services):
    disk = services.disk("disk0")
    disk.submit(0)
    services.made[1, "disk0"].take_batch()
    thread, result = released(services)
    services.die(1)
    thread.join(PATIENCE)
    assert result == [None]
    assert services.next(pb.EVENT_DEVICE_LOST).device == "disk0"
    services.connect(2)
    services.made[2, "disk0"].take_control("activate")
    assert slots(services.made[2, "disk0"].take_batch(replay=True)) == [0]


def test_a_driver_that_does_not_close_is_lost(services, monkeypatch):
    monkeypatch.setattr(module, "CLOSING_S", 0.05)
    services.disk("disk0")
    services.made[1, "disk0"].stays = True
    with pytest.raises(PeerFault, match="disk0") as raised:
        services.directory.release("main", 0)
    assert raised.value.refusal is Refusal.TOO_LATE
    lost = services.next(pb.EVENT_DEVICE_LOST)
    assert (lost.device, lost.epoch, lost.text) == ("disk0", 1, "its driver does not close")


def test_the_standby_stands_by_while_another_is_released(services):
    disk = services.disk("disk0")
    services.prepare(2)
    services.directory.release("main", LONG_MS)
    assert services.directory.find(disk.device).standing_by
    services.connect(2)
    assert services.directory.epoch_of(disk.device) == 2


def test_nobody_to_release_and_nobody_to_be_added_to(services):
    with pytest.raises(PeerFault, match="service other is not connected"):
        services.directory.release("other", 0)
    services.directory.release("main", 0)
    for call in (lambda: services.directory.release("main", 0), lambda: services.disk("late")):
        with pytest.raises(PeerFault, match="service main is not connected") as raised:
            call()
        assert raised.value.refusal is Refusal.NOT_CONNECTED


def test_a_device_added_meanwhile_waits(services):
    disk = services.disk("disk0")
    disk.submit(0)
    first = services.made[1, "disk0"]
    requests = first.take_batch()
    releasing, _ = released(services)
    adding, result = background(services.disk, "disk1")
    connecting, _ = background(services.connect, 2)
    first.complete(*requests)
    for thread in (releasing, adding, connecting):
        thread.join(PATIENCE)
    assert "not connected" in str(result[0]) or services.directory.epoch_of(result[0].device) == 2
