"""Devices whose requests fail, devices that are withheld, and replay of one after the other."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from protos import core_pb2 as pb
from sessions import turns
from sessions.channel import ChannelClosed
from tests.sessions.service import HEADER, PATIENCE, described, eventually, slots
from tests.sessions.services import background

FAILING = {"answer": described(failure=b"\1", patience_ms=100)}
CONSOLE = {"answer": described()}


@pytest.fixture
def two(services):
    """Two devices, one with a request in flight, and nobody who serves them."""
    services.how[1] = services.how[2] = FAILING
    disks = [services.disk("disk0"), services.disk("disk1")]
    disks[0].submit(0)
    services.made[1, "disk0"].take_batch()
    services.die(1)
    for _ in disks:
        services.next(pb.EVENT_DEVICE_LOST)
    return disks


def failed(disk, head):
    """The device has answered a request with its failure."""
    assert disk.done() == [head]
    return disk.peek(disk.header_at(head) + HEADER, 1) == b"\1"


def test_what_is_in_flight_and_what_comes_fails_until_somebody_serves(services, two):
    assert services.directory.fail("main", [], "gone for long") == 2
    assert failed(two[0], 0)
    two[1].submit(3)
    assert failed(two[1], 3)
    for disk in two:
        event = services.next(pb.EVENT_DEVICE_FAILING)
        assert (event.device, event.text) == (disk.device.config.name, "gone for long")
        assert services.directory.find(disk.device).failing == "gone for long"
        assert services.directory.epoch_of(disk.device) is None
    services.connect(2)
    two[0].submit(0)
    second = services.made[2, "disk0"]
    second.take_control("activate")
    second.complete(*second.take_batch())
    assert two[0].done() == [0]
    assert services.directory.find(two[0].device).failing == ""
    assert services.directory.epoch_of(two[0].device) == 2


def test_one_device_fails_and_the_other_waits(services, two):
    assert services.directory.fail("main", ["g/disk0"], "once") == 1
    assert failed(two[0], 0)
    assert services.directory.fail("main", ["g/disk0"], "again") == 1
    assert services.directory.find(two[0].device).failing == "again"
    assert services.directory.find(two[1].device).failing == ""
    assert services.so_far().count(pb.EVENT_DEVICE_FAILING) == 1


def test_nothing_that_is_served_fails_unless_it_is_named(services):
    services.how[1] = FAILING
    disk = services.disk("disk0")
    assert services.directory.fail("main", [], "no") == 0
    first = services.made[1, "disk0"]
    disk.submit(0)
    late = first.take_batch()
    assert services.directory.fail("main", ["g/disk0"], "yes") == 1
    assert failed(disk, 0)
    first.complete(*late)  # nobody listens
    assert disk.rings[0].take() == []
    assert disk.device.status.completions == 1


def test_parked_requests_do_not_fail_but_are_given_back_at_a_reset(services, two):
    disk = two[0]
    disk.submit(1, number=1)
    services.directory.fail("main", [], "gone")
    assert failed(disk, 0)
    disk.submit(2)
    assert failed(disk, 2)  # by then the parked one has been seen
    assert disk.rings[1].take() == []
    assert len(disk.device.log) == 1
    disk.start()
    disk.submit(2)  # goes out when the parked one is answered
    assert failed(disk, 2)


def test_parked_requests_of_a_failing_device_go_to_the_next(services, two):
    two[0].submit(1, number=1)
    services.directory.fail("main", [], "gone")
    assert failed(two[0], 0)
    eventually(lambda: len(two[0].device.log) == 1)
    services.connect(2)
    second = services.made[2, "disk0"]
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [8 + 1]


def test_an_unknown_device_is_not_found(services, two):
    with pytest.raises(PeerFault, match="service main has no device g/disk9") as raised:
        services.directory.fail("main", ["g/disk0", "g/disk9"], "")
    assert raised.value.refusal is Refusal.NOT_FOUND
    assert services.directory.find(two[0].device).failing == ""


def test_a_withheld_device_goes_on_failing_and_the_standby_lets_go_of_it(services, two):
    services.prepare(2)
    services.directory.fail("main", [], "poison")
    assert failed(two[0], 0)
    results, _ = services.connect(2, withheld=["g/disk0"])
    assert results == [(two[1].device, None)]
    services.made[2, "disk0"].join()
    assert services.made[2, "disk0"].begin is None
    two[0].submit(4)
    assert failed(two[0], 4)
    services.directory.fail("main", [], "not disk1")
    assert services.directory.epoch_of(two[1].device) == 2
    services.how[3] = FAILING
    services.connect(3)
    assert [services.directory.epoch_of(disk.device) for disk in two] == [3, 3]


def test_a_withheld_device_that_does_not_fail_waits(services, two):
    assert services.connect(2, withheld=["g/disk0"])[0] == [(two[1].device, None)]
    assert (2, "disk0") not in services.made
    assert len(two[0].device.log) == 1
    assert services.directory.fail("main", [], "now") == 1
    assert failed(two[0], 0)


def in_turn(services, epoch):
    return background(lambda: services.connect(epoch, one_by_one=True))


def test_one_device_after_the_other(services, two):
    two[1].submit(5)
    thread, result = in_turn(services, 2)
    first = eventually(lambda: services.made.get((2, "disk0")))
    first.take_control("activate")
    replayed = first.take_batch(replay=True)
    assert (2, "disk1") not in services.made
    first.complete(*replayed)
    thread.join()
    assert result == [([(disk.device, None) for disk in two], "")]
    services.made[2, "disk1"].take_control("activate")
    assert slots(services.made[2, "disk1"].take_batch()) == [5]


def test_who_may_wait_for_the_world_outside_is_last_and_not_waited_for(services, two, monkeypatch):
    services.how[2, "disk0"] = services.how[3, "disk0"] = CONSOLE
    services.connect(2)
    services.die(2)
    monkeypatch.setattr(turns, "WORLD_S", 0.05)
    thread, result = in_turn(services, 3)
    thread.join(PATIENCE)
    assert result == [([(disk.device, None) for disk in reversed(two)], "")]
    assert [device for epoch, device in services.made if epoch == 3] == ["disk1", "disk0"]
    waiting = services.made[3, "disk0"]
    waiting.take_control("activate")
    assert slots(waiting.take_batch(replay=True)) == [0]


def test_who_dies_with_one_that_waits_for_the_world_outside_may_be_innocent(
    services, two, monkeypatch
):
    gone = ChannelClosed("the service OS died", Refusal.NOT_CONNECTED)
    services.how[2] = services.how[3] = CONSOLE
    services.connect(2)
    services.die(2)
    monkeypatch.setattr(turns, "WORLD_S", 0.05)
    services.how[3, "disk1"] = {"opens": gone}
    thread, result = in_turn(services, 3)
    thread.join(PATIENCE)
    assert "disk1, and not with that one alone" in str(result[0])


def test_whose_replay_kills_is_guilty(services, two):
    thread, result = in_turn(services, 2)
    first = eventually(lambda: services.made.get((2, "disk0")))
    first.take_control("activate")
    first.take_batch(replay=True)
    services.die(2)
    thread.join()
    (results, guilty) = result[0]
    assert guilty == "g/disk0"
    assert [str(problem) for _, problem in results] == [
        "the service OS died",
        "the incarnation broke off with device g/disk0",
    ]
    assert (2, "disk1") not in services.made


def test_whose_driver_dies_when_it_is_opened_is_guilty_too(services, two):
    gone = ChannelClosed("the service OS died", Refusal.NOT_CONNECTED)
    services.how[2, "disk1"] = {"opens": gone}
    thread, result = in_turn(services, 2)
    first = eventually(lambda: services.made.get((2, "disk0")))
    first.take_control("activate")
    first.complete(*first.take_batch(replay=True))
    thread.join()
    (results, guilty) = result[0]
    assert guilty == "g/disk1"
    assert [str(problem or "") for _, problem in results] == ["", "the service OS died"]


def test_what_is_withheld_is_not_opened_where_others_stand_by(services, two):
    services.directory.prepare(pb.ServiceEndpoint(name="main", epoch=3, withheld=["g/disk0"]))
    assert (3, "disk0") not in services.made
    assert services.made[3, "disk1"].attach is not None


def test_who_refuses_is_not_guilty(services, two):
    services.how[2, "disk1"] = {"answer": "crashed"}
    thread, result = in_turn(services, 2)
    first = eventually(lambda: services.made.get((2, "disk0")))
    first.take_control("activate")
    first.complete(*first.take_batch(replay=True))
    thread.join()
    (results, guilty) = result[0]
    assert guilty == ""
    assert [str(problem or "") for _, problem in results] == ["", "crashed"]


def test_an_incarnation_that_died_between_two_turns_has_nobody_guilty(services, two):
    services.prepare(2)
    services.how[2, "disk1"] = {"opens": "nobody answers"}
    thread, result = in_turn(services, 2)
    services.made[2, "disk1"].die()
    services.next(pb.EVENT_STANDBY_LOST)
    first = services.made[2, "disk0"]
    first.take_control("activate")
    first.complete(*first.take_batch(replay=True))
    thread.join()
    (results, guilty) = result[0]
    assert guilty == ""
    assert [str(problem or "") for _, problem in results] == ["", "nobody answers"]
