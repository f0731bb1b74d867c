"""Which incarnation serves: standing by, promotion, and devices that come and go meanwhile."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from protos import core_pb2 as pb
from sessions.channel import ChannelClosed
from sessions.dialogue import Phase
from tests.sessions.service import PATIENCE, described, eventually, slots
from tests.sessions.services import background


def attachment(services, disk):
    return services.directory.find(disk.device)


def served_by(services, disk):
    return services.directory.epoch_of(disk.device)


def test_a_standby_opens_every_device_and_takes_no_request(services):
    disks = [services.disk("disk0"), services.disk("disk1")]
    assert services.prepare(2) == ["", ""]
    prepared = services.next(pb.EVENT_SERVICE_PREPARED)
    assert (prepared.service, prepared.epoch, prepared.count) == ("main", 2, 2)
    for disk in disks:
        assert attachment(services, disk).standing_by
        assert served_by(services, disk) == 1
        for head in range(8):  # whoever reads the doorbell
            disk.submit(head)
            service = services.made[1, disk.device.config.name]
            service.complete(*service.take_batch())
            assert disk.done() == [head]
        assert services.made[2, disk.device.config.name].begin is None


def test_a_promoted_standby_begins_with_the_state_of_the_end_and_replays(services):
    disk = services.disk("disk0")
    services.prepare(2)
    first = services.made[1, "disk0"]
    disk.submit(3)
    first.complete(*first.take_batch(), state=b"late")
    assert disk.done() == [3]
    disk.submit(4)
    first.take_batch()
    services.die(1)
    lost = services.next(pb.EVENT_DEVICE_LOST)
    assert (lost.guest, lost.device, lost.epoch) == ("g", "disk0", 1)
    assert services.connect(2) == ([(disk.device, None)], "")
    assert [key for key in services.made if key[0] == 2] == [(2, "disk0")]  # opened once
    second = services.made[2, "disk0"]
    assert second.begin.state == b"late"
    second.take_control("activate")
    replayed = second.take_batch(replay=True)
    assert slots(replayed) == [4]
    second.complete(*replayed)
    assert disk.done() == [4]
    assert not attachment(services, disk).standing_by
    kinds = [pb.EVENT_SERVICE_CONNECTED, pb.EVENT_DEVICE_ATTACHED, pb.EVENT_DEVICE_RESUMED]
    for kind in [*kinds, pb.EVENT_DEVICE_REPLAYED]:
        event = services.next(kind)
        assert event.epoch == 2
    assert event.count == 1


def test_a_lost_standby_is_told_and_nothing_else_changes(services):
    disk = services.disk("disk0")
    services.prepare(2)
    services.made[2, "disk0"].die()
    lost = services.next(pb.EVENT_STANDBY_LOST)
    assert (lost.service, lost.device, lost.epoch, lost.text) == (
        *("main", "disk0", 2),
        "the service OS died",
    )
    assert not attachment(services, disk).standing_by
    assert served_by(services, disk) == 1
    assert pb.EVENT_DEVICE_LOST not in services.so_far()
    services.how[2] = {}
    services.die(1)
    assert services.connect(2)[0] == [(disk.device, None)]  # opened anew
    assert served_by(services, disk) == 2


def test_a_device_that_the_standby_cannot_open_is_a_problem_and_may_be_opened_later(services):
    disk = services.disk("disk0")
    services.disk("disk1")
    services.how[2, "disk0"] = {"opens": "no such file: make one"}
    assert services.prepare(2) == ["no such file: make one", ""]
    assert services.next(pb.EVENT_SERVICE_PREPARED).count == 1
    services.how.clear()
    services.die(1)
    assert [problem for _, problem in services.connect(2)[0]] == [None, None]
    assert served_by(services, disk) == 2


def test_a_new_standby_takes_the_place_of_the_one_before(services):
    disk = services.disk("disk0")
    services.prepare(2)
    services.prepare(3)
    assert services.made[2, "disk0"].join() is None  # it is over
    assert pb.EVENT_STANDBY_LOST not in services.so_far()
    services.die(1)
    services.connect(3)
    assert served_by(services, disk) == 3


def test_a_device_added_later_is_opened_by_the_standby_too(services):
    services.prepare(2)
    disk = services.disk("disk0")
    opened = services.next(pb.EVENT_DEVICE_OPENED)
    assert (opened.device, opened.epoch) == ("disk0", 2)
    services.die(1)
    services.connect(2)
    assert len([key for key in services.made if key[0] == 2]) == 1
    assert served_by(services, disk) == 2


def test_a_standby_that_cannot_open_a_new_device_costs_no_guest(services):
    services.prepare(2)
    services.how[2] = {"opens": "not me"}
    disk = services.disk("disk0")
    lost = services.next(pb.EVENT_STANDBY_LOST)
    assert (lost.device, lost.epoch, lost.text) == ("disk0", 2, "not me")
    assert served_by(services, disk) == 1


def test_removing_a_device_ends_both_of_its_sessions(services):
    disk = services.disk("disk0")
    services.prepare(2)
    services.so_far()
    services.directory.remove(disk.device)
    for epoch in (1, 2):
        services.made[epoch, "disk0"].join()
    assert services.so_far() == []
    assert services.prepare(3) == []
    assert attachment(services, disk) is None


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_that_is_not_newer_is_refused(services, epoch):
    for call in (services.connect, services.prepare):
        with pytest.raises(PeerFault, match=f"epoch {epoch} is not after 1"):
            call(epoch)


def test_a_standby_older_than_who_serves_is_closed(services):
    disk = services.disk("disk0")
    services.prepare(2)
    services.die(1)
    services.connect(3)
    services.made[2, "disk0"].join()
    assert served_by(services, disk) == 3
    assert not attachment(services, disk).standing_by


def test_a_standby_newer_than_who_serves_goes_on_standing_by(services):
    disk = services.disk("disk0")
    services.prepare(3)
    services.die(1)
    services.connect(2)
    assert attachment(services, disk).standing_by
    services.die(2)
    services.connect(3)
    assert len([key for key in services.made if key[0] == 3]) == 1
    assert served_by(services, disk) == 3


def test_who_waits_for_a_hung_standby_holds_nobody_up(services):
    disk = services.disk("disk0")
    services.how[2] = {"opens": False}
    thread, result = background(services.prepare, 2)
    eventually(lambda: (2, "disk0") in services.made and services.made[2, "disk0"].attach)
    services.die(1)
    assert services.connect(3)[0] == [(disk.device, None)]
    thread.join(PATIENCE)
    assert result == [["closed"]]
    assert services.prepare(4) == [""]


def test_a_newer_standby_does_not_wait_for_a_hung_one(services):
    services.disk("disk0")
    services.how[2] = {"opens": False}
    thread, _ = background(services.prepare, 2)
    eventually(lambda: (2, "disk0") in services.made and services.made[2, "disk0"].attach)
    assert services.prepare(3) == [""]
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_device_on_its_way_to_a_dead_incarnation_fails_and_the_next_serves_the_others(services):
    disk = services.disk("disk0")
    services.how[1] = {"answer": False}
    thread, result = background(services.disk, "disk1")
    eventually(lambda: (1, "disk1") in services.made and services.made[1, "disk1"].begin)
    services.connect(2)
    thread.join(PATIENCE)
    assert str(result[0]) == "device disk1: closed"
    assert served_by(services, disk) == 2
    assert (2, "disk1") not in services.made


def test_an_incarnation_that_breaks_off_while_it_attaches_is_no_service_os(services):
    for name in ("disk0", "disk1"):
        services.disk(name)
    services.how[2, "disk1"] = {"answer": ChannelClosed("gone", Refusal.NOT_CONNECTED)}
    services.prepare(2)
    with pytest.raises(PeerFault, match="it broke off with device g/disk1: gone"):
        services.connect(2)


def test_a_service_os_does_not_wait_for_another(services):
    services.connect(1, name="other")
    services.how[1] = {"answer": False}
    thread, _ = background(services.disk, "slow")
    eventually(lambda: (1, "slow") in services.made and services.made[1, "slow"].begin)
    services.how.clear()
    disk = services.disk("disk0", service="other")
    services.connect(2, name="other")
    assert served_by(services, disk) == 2
    services.die(1)
    thread.join(PATIENCE)


def test_an_incarnation_that_says_something_else_is_a_problem_of_that_device(services):
    services.disk("disk0")
    services.disk("disk1")
    services.how[2, "disk1"] = {"answer": described(device_id=9)}
    services.prepare(2)
    services.die(1)
    problems, guilty = services.connect(2)
    said = {device.config.name: str(problem or "") for device, problem in problems}
    assert said["disk0"] == guilty == ""
    assert "not what the guest has seen before" in said["disk1"]
    assert services.directory.attachments[1].active.phase is Phase.OVER


def test_a_standby_that_fails_to_begin_with_a_device_opens_it_anew(services):
    disk = services.disk("disk0")
    services.how[2] = {"answer": "its driver looks again and does not like what it sees"}
    assert services.prepare(2) == [""]
    services.how[2] = {}
    services.die(1)
    (attached, _) = services.connect(2)
    assert [problem for _, problem in attached] == [None]
    assert services.directory.epoch_of(disk.device) == 2


def test_but_only_once(services):
    services.disk("disk0")
    services.how[2] = {"answer": "it never likes it"}
    assert services.prepare(2) == [""]
    services.die(1)
    ((_, problem),) = services.connect(2)[0]
    assert str(problem) == "it never likes it"
