"""A device is removed at any time: nobody waits for it, and nobody begins with it any more."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from protos import core_pb2 as pb
from sessions.channel import ChannelClosed
from tests.sessions.service import PATIENCE, described, eventually
from tests.sessions.services import background

GONE = ChannelClosed("the service OS died", Refusal.NOT_CONNECTED)


@pytest.fixture
def two(services):
    """Two devices, one with a request in flight, and nobody who serves them."""
    services.how[1] = services.how[2] = {"answer": described(patience_ms=100)}
    disks = [services.disk("disk0"), services.disk("disk1")]
    disks[0].submit(0)
    services.made[1, "disk0"].take_batch()
    services.die(1)
    for _ in disks:
        services.next(pb.EVENT_DEVICE_LOST)
    return disks


@pytest.fixture
def turn(services, two):
    """It is disk0's turn, whose replay is not answered: the call, its result, who is to answer."""
    thread, result = background(lambda: services.connect(2, one_by_one=True))
    first = eventually(lambda: services.made.get((2, "disk0")))
    first.take_control("activate")
    yield thread, result, first, first.take_batch(replay=True)
    services.die(2)
    thread.join(PATIENCE)


def remove(services, disk):
    """Whether that was done without anything else."""
    thread, _ = background(services.directory.remove, disk.device)
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_it_waits_for_no_replay(services, two, turn):
    thread, result, first, replayed = turn
    assert remove(services, two[1])
    assert not result
    assert remove(services, two[0])
    first.complete(*replayed)  # nobody listens
    thread.join(PATIENCE)
    assert result == [([], "")]
    assert (2, "disk1") not in services.made
    assert two[0].rings[0].take() == []
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_the_next_has_its_turn(services, two, turn):
    thread, result, _, _ = turn
    assert remove(services, two[0])
    thread.join(PATIENCE)
    assert result == [([(two[1].device, None)], "")]


def test_who_breaks_off_after_one_that_was_removed_may_be_innocent(services, two, turn):
    thread, result, _, _ = turn
    services.how[2, "disk1"] = {"opens": GONE}
    assert remove(services, two[0])
    thread.join(PATIENCE)
    assert "it broke off with device g/disk1" in str(result[0])
    assert result[0].refusal is Refusal.NOT_CONNECTED


def test_who_is_guilty_is_guilty_though_another_was_removed(services, two, turn):
    thread, result, _, _ = turn
    assert remove(services, two[1])
    services.die(2)
    thread.join(PATIENCE)
    ((_, problem),), guilty = result[0]
    assert (str(problem), guilty) == ("the service OS died", "g/disk0")


def test_who_begins_with_all_at_once_goes_on_without_it(services, two):
    services.how[2, "disk0"] = {"answer": False}
    thread, result = background(services.connect, 2)
    eventually(lambda: (2, "disk0") in services.made and services.made[2, "disk0"].begin)
    assert remove(services, two[0])
    thread.join(PATIENCE)
    assert result == [([(two[1].device, None)], "")]


def test_so_does_who_is_to_stand_by(services, two):
    services.how[2, "disk0"] = {"opens": False}
    thread, result = background(services.prepare, 2)
    eventually(lambda: (2, "disk0") in services.made and services.made[2, "disk0"].attach)
    assert remove(services, two[0])
    thread.join(PATIENCE)
    assert result == [[""]]


@pytest.mark.parametrize("call", ["connect", "prepare"])
def test_one_that_is_removed_as_its_session_is_made_is_never_opened(services, two, call):
    real = services._open

    def made(device, endpoint, events):
        service = real(device, endpoint, events)
        if device is two[0].device:
            services.directory.remove(device)
        return service

    services._open = made
    getattr(services, call)(2)
    services.made[2, "disk0"].join()
    assert services.made[2, "disk0"].attach is None
    assert services.made[2, "disk1"].attach
    assert services.directory.find(two[0].device) is None


@pytest.fixture
def disk(services):
    return services.disk("disk0")


def swapping(services):
    """A swap that has begun; its thread and result."""
    before = services.made[1, "disk0"]
    swap = background(services.directory.swap, "main", "g/disk0", "new", PATIENCE * 1000, False)
    eventually(lambda: services.made[1, "disk0"] is not before)
    return swap


def test_a_swap_that_waits_for_what_is_in_flight_has_failed(services, disk):
    disk.submit(0)
    services.made[1, "disk0"].take_batch()
    thread, result = swapping(services)
    eventually(lambda: disk.device.held)
    assert remove(services, disk)
    thread.join(PATIENCE)
    assert "disk0 is no more" in str(result[0])
    assert services.made[1, "disk0"].begin is None
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_a_driver_that_is_still_closing_has_no_hold_of_the_device_any_more(services, disk):
    old = services.made[1, "disk0"]
    old.stays = True
    thread, result = swapping(services)
    assert old.ended.wait(PATIENCE)
    eventually(lambda: services.made[1, "disk0"].begin)
    attachment = services.directory.find(disk.device)
    assert remove(services, disk)
    assert attachment.active.behind.join(0)
    thread.join(PATIENCE)
    assert isinstance(result[0], PeerFault)
