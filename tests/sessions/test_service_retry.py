"""Devices that could not be attached are tried again, on the incarnation that serves the others."""

import pytest

from microhypervisor.errors import PeerFault
from protos import core_pb2 as pb
from sessions.dialogue import Phase
from tests.sessions.service import HEADER, described, eventually, slots
from tests.sessions.services import background

AWAY = {"opens": "no such file"}
FAILING = {"answer": described(failure=b"\1")}


@pytest.fixture
def two(services):
    """Two devices; epoch 2 serves disk1, and disk0, whose image is away, has a request out."""
    services.how[1] = services.how[2] = services.how[3] = FAILING
    disks = [services.disk("disk0"), services.disk("disk1")]
    disks[0].submit(0)
    services.made[1, "disk0"].take_batch()
    services.die(1)
    for _ in disks:
        services.next(pb.EVENT_DEVICE_LOST)
    services.how[2, "disk0"] = AWAY
    (problem, _), _ = services.connect(2)
    assert str(problem[1]) == "no such file"
    services.made[2, "disk1"].take_control("activate")
    return disks


def retry(services, epoch=2, *names):
    """The problems of a retry by device."""
    results = services.directory.retry("main", epoch, list(names or ("g/disk0",)))
    return {device.config.name: str(problem or "") for device, problem in results}


def back(services, epoch=2, **how):
    """The image is back; how its service OS behaves with it."""
    services.how[epoch, "disk0"] = how


def test_what_can_be_opened_by_then_is_served_with_all_that_was_in_flight(services, two):
    assert retry(services) == {"disk0": "no such file"}
    assert services.directory.epoch_of(two[0].device) is None
    back(services)
    assert retry(services) == {"disk0": ""}
    second = services.made[2, "disk0"]
    second.take_control("activate")
    replayed = second.take_batch(replay=True)
    assert slots(replayed) == [0]
    second.complete(*replayed)
    assert two[0].done() == [0]
    event = services.next(pb.EVENT_DEVICE_REPLAYED)
    while event.device == "disk1":
        event = services.next(pb.EVENT_DEVICE_REPLAYED)
    assert (event.device, event.epoch, event.count) == ("disk0", 2, 1)


def test_what_is_served_stays_as_it_is_and_what_is_unknown_is_left_out(services, two):
    serving = services.made[2, "disk1"]
    assert retry(services, 2, "g/disk1", "g/disk9") == {"disk1": ""}
    assert services.made[2, "disk1"] is serving
    two[1].submit(3)
    serving.complete(*serving.take_batch())
    assert two[1].done() == [3]


def test_a_device_fails_until_it_is_open(services, two):
    services.directory.fail("main", ["g/disk0"], "gone for long")
    assert two[0].done() == [0]
    back(services, opens=None)
    thread, result = background(retry, services)
    opening = eventually(lambda: services.made.get((2, "disk0")))
    eventually(lambda: opening.attach)
    two[0].submit(4)
    assert two[0].done() == [4]
    assert two[0].peek(two[0].header_at(4) + HEADER, 1) == b"\1"
    opening.say(opened={})
    thread.join()
    assert result == [{"disk0": ""}]
    assert services.directory.find(two[0].device).failing == ""
    two[0].submit(5)
    opening.take_control("activate")
    opening.complete(*opening.take_batch())
    assert two[0].done() == [5]


def test_what_is_refused_when_it_begins_goes_on_failing(services, two):
    services.directory.fail("main", ["g/disk0"], "gone for long")
    assert two[0].done() == [0]
    back(services, answer=described(device_id=3))
    assert retry(services) == {"disk0": "device disk0 is not what the guest has seen before"}
    assert services.directory.find(two[0].device).failing == "gone for long"
    two[0].submit(4)
    assert two[0].done() == [4]
    assert services.so_far().count(pb.EVENT_DEVICE_FAILING) == 1


def test_another_epoch_than_that_which_serves_is_refused(services, two):
    for epoch in (1, 3):
        with pytest.raises(PeerFault, match=f"not served by epoch {epoch}"):
            retry(services, epoch)
    services.directory.release("main", 1000)
    with pytest.raises(PeerFault, match="not served by epoch 2"):
        retry(services)


def hanging(services):
    """A retry whose device does not open; its thread and result."""
    back(services, opens=None)
    before = services.made[2, "disk0"]
    thread, result = background(retry, services)
    opening = eventually(lambda: now if (now := services.made[2, "disk0"]) is not before else None)
    eventually(lambda: opening.attach)
    return thread, result


def test_nothing_waits_for_a_device_that_does_not_open(services, two):
    thread, result = hanging(services)
    assert retry(services) == {"disk0": "it is being tried already"}
    assert services.prepare(3) == ["", ""]
    assert not result
    results, _ = services.connect(3)
    assert results == [(disk.device, None) for disk in (two[0], two[1])]
    thread.join()
    assert services.directory.epoch_of(two[0].device) == 3
    assert services.made[2, "disk0"].begin is None


def test_a_release_ends_it(services, two):
    thread, result = hanging(services)
    services.directory.release("main", 1000)
    thread.join()
    (outcome,) = result
    assert outcome["disk0"]
    assert services.directory.find(two[0].device).tried is None


def test_so_does_the_end_of_the_device(services, two):
    thread, result = hanging(services)
    services.directory.remove(two[0].device)
    thread.join()
    assert result == [{}]


def test_one_that_breaks_before_it_begins_is_no_device(services, two):
    thread, result = hanging(services)
    services.made[2, "disk0"].die()
    thread.join()
    assert result == [{"disk0": "the service OS died"}]
    attachment = services.directory.find(two[0].device)
    assert attachment.active.phase is Phase.OVER
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_only_what_nobody_serves_fails_if_that_is_asked(services, two):
    names = ["g/disk0", "g/disk1"]
    assert services.directory.fail("main", names, "gone", unserved=True) == 1
    assert services.directory.find(two[0].device).failing == "gone"
    assert services.directory.find(two[1].device).failing == ""
    back(services)
    assert retry(services) == {"disk0": ""}
    assert services.directory.fail("main", names, "late", unserved=True) == 0
