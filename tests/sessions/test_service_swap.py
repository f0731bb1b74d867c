"""A device goes from one driver to another while its guest uses it, or keeps the one it has."""

import pytest

from microhypervisor.errors import PeerFault, Refusal
from protos import core_pb2 as pb
from protos import io_pb2
from sessions import service as module
from sessions.session import Session
from tests.sessions.service import PATIENCE, described, eventually, slots
from tests.sessions.services import background

LONG_MS = PATIENCE * 1000
NEW = "new:path=b"


@pytest.fixture
def disk(services):
    disk = services.disk("disk0")
    disk.device.config.spec = "old:path=a"
    return disk


def swap(services, patience_ms=LONG_MS, idle=False):
    return services.directory.swap("main", "g/disk0", NEW, patience_ms, idle)


def goes_on(services, disk, head, epoch=1):
    """A request is answered by the session that serves the device."""
    disk.submit(head)
    services.made[epoch, "disk0"].complete(*services.made[epoch, "disk0"].take_batch())
    eventually(lambda: disk.done() == [head])


def test_what_is_in_flight_is_done_by_the_old_and_what_comes_by_the_new(services, disk):
    old = services.made[1, "disk0"]
    disk.submit(0)
    (request,) = old.take_batch()
    thread, result = background(swap, services)
    eventually(lambda: disk.device.held)
    new = services.made[1, "disk0"]
    assert new is not old
    disk.submit(1)
    assert old.idle(disk.device)
    old.complete(request)
    thread.join(PATIENCE)
    (waited,) = result
    assert 0 < waited < PATIENCE
    assert old.ended.is_set()
    assert disk.device.config.spec == NEW
    assert disk.done() == [0]
    new.take_control("activate")
    new.complete(*new.take_batch())  # which is no replay
    eventually(lambda: disk.done() == [1])
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_what_parks_goes_to_the_new(services, disk):
    disk.submit(2, number=1)
    services.made[1, "disk0"].take_batch()
    swap(services)
    new = services.made[1, "disk0"]
    new.take_control("activate")
    assert slots(new.take_batch(replay=True)) == [8 + 2]


def test_attach_says_what_is_wanted_and_what_the_guest_has_seen(services, disk):
    swap(services)
    attach = services.made[1, "disk0"].attach
    assert (attach.spec, attach.device) == (NEW, "disk0")
    assert attach.seen.config_space == described().config_space
    assert attach.seen.state == b""


def test_one_that_does_not_open_changes_nothing(services, disk):
    services.how[1, "disk0"] = {"opens": "no such file: make one"}
    old = services.made[1, "disk0"]
    with pytest.raises(PeerFault, match="no such file: make one"):
        swap(services)
    services.made[1, "disk0"] = old
    goes_on(services, disk, 0)
    assert disk.device.config.spec == "old:path=a"
    assert not old.ended.is_set()


def test_one_that_does_not_begin_gives_the_device_back(services, disk):
    services.how[1, "disk0"] = [{"answer": "it has gone: find it"}]
    with pytest.raises(PeerFault, match="it has gone: find it"):
        swap(services)
    assert disk.device.config.spec == "old:path=a"
    again = services.made[1, "disk0"]
    again.take_control("activate")
    goes_on(services, disk, 0)
    assert pb.EVENT_DEVICE_LOST not in services.so_far()


def test_another_device_than_the_guest_has_seen_is_refused(services, disk):
    services.how[1, "disk0"] = [{"answer": described(features=0)}]
    with pytest.raises(PeerFault, match="is not what the guest has seen before"):
        swap(services)
    services.made[1, "disk0"].take_control("activate")
    goes_on(services, disk, 0)


def test_when_neither_begins_the_incarnation_is_lost(services, disk):
    services.how[1, "disk0"] = {"answer": "it has gone: find it"}
    with pytest.raises(PeerFault, match="it has gone"):
        swap(services)
    assert services.next(pb.EVENT_DEVICE_LOST).epoch == 1


def test_what_is_not_done_in_time_stays_where_it_is(services, disk):
    old = services.made[1, "disk0"]
    disk.submit(0)
    (request,) = old.take_batch()
    with pytest.raises(PeerFault, match="still has requests in flight after 1 ms") as raised:
        swap(services, patience_ms=1)
    assert raised.value.refusal is Refusal.TOO_LATE
    old.complete(request)
    eventually(lambda: disk.done() == [0])
    services.made[1, "disk0"] = old
    goes_on(services, disk, 1)


def test_begin_does_not_wait_until_the_old_stream_has_ended(services, disk):
    old = services.made[1, "disk0"]
    old.stays = True
    thread, result = background(swap, services)
    assert old.ended.wait(PATIENCE)
    assert old.take_control("end") == io_pb2.End()
    new = services.made[1, "disk0"]
    new.take_control("activate")
    goes_on(services, disk, 0)
    assert thread.is_alive()
    old.die()
    thread.join(PATIENCE)
    assert 0 < result[0] < PATIENCE
    assert disk.device.served
    goes_on(services, disk, 1)


def test_a_driver_that_died_before_anybody_saw_that_it_served_has_served(
    services, disk, monkeypatch
):
    services.how[1, "disk0"] = {"answer": False}
    old, ask = services.made[1, "disk0"], Session.wait_attached

    def ask_late(session):
        assert session.join(PATIENCE)
        return ask(session)

    monkeypatch.setattr(Session, "wait_attached", ask_late)
    thread, result = background(swap, services)
    new = eventually(lambda: services.made[1, "disk0"] is not old and services.made[1, "disk0"])
    eventually(lambda: new.begin)
    new.say(attached=described())
    new.take_control("activate")
    disk.submit(0)
    new.complete(*new.take_batch())
    eventually(lambda: disk.done() == [0])
    services.die(1)
    thread.join(PATIENCE)
    assert disk.device.config.spec == NEW, result
    assert services.next(pb.EVENT_DEVICE_LOST).epoch == 1


def test_begin_that_carries_state_waits_for_what_the_old_driver_says_last(services, disk):
    old = services.made[1, "disk0"]
    disk.device.state = b"a"
    old.stays = True
    thread, result = background(swap, services)
    assert old.ended.wait(PATIENCE)
    old.answer(state=b"ab")
    eventually(lambda: disk.device.state == b"ab")
    assert services.made[1, "disk0"].begin is None
    old.die()
    thread.join(PATIENCE)
    assert 0 < result[0] < PATIENCE
    assert services.made[1, "disk0"].begin.state == b"ab"


def test_an_old_driver_that_does_not_close_costs_the_incarnation(services, disk, monkeypatch):
    monkeypatch.setattr(module, "CLOSING_S", 0.01)
    services.made[1, "disk0"].stays = True
    services.how[1, "disk0"] = {"answer": ""}
    with pytest.raises(PeerFault, match="is not closed in time: its service OS is replaced"):
        swap(services)
    assert services.next(pb.EVENT_DEVICE_LOST).text == "its driver does not close"
    assert disk.device.config.spec == "old:path=a"


def test_if_the_new_one_has_begun_by_then_it_is_the_driver_from_now_on(services, disk, monkeypatch):
    """What it was given to write is nowhere else."""
    services.prepare(2)
    services.made[1, "disk0"].stays = True
    services.so_far()

    def join(session, timeout_s):
        services.next(pb.EVENT_DEVICE_ATTACHED)
        return False

    monkeypatch.setattr(Session, "join", join)
    with pytest.raises(PeerFault, match="is not closed in time: its service OS is replaced"):
        swap(services)
    assert disk.device.config.spec == NEW
    attach = eventually(lambda: services.made[2, "disk0"].attach)
    assert attach.spec == NEW


def test_content_is_replaced_only_where_nobody_looks(services, disk):
    with pytest.raises(PeerFault, match="guest g uses device disk0") as raised:
        swap(services, idle=True)
    assert raised.value.refusal is Refusal.WRONG_STATE
    assert not disk.device.held
    disk.write(0x70, 0)  # the guest resets it
    swap(services, idle=True)
    assert disk.device.config.spec == NEW


def test_a_death_while_the_new_one_opens_leaves_the_old_driver(services, disk):
    services.how[1, "disk0"] = {"opens": None}
    old = services.made[1, "disk0"]
    thread, result = background(swap, services)
    eventually(lambda: services.made[1, "disk0"] is not old)
    services.die(1)
    old.die()
    services.connect(2)
    thread.join(PATIENCE)
    assert isinstance(result[0], PeerFault)
    assert services.made[2, "disk0"].attach.spec == "old:path=a"


def test_a_death_after_it_comes_back_with_the_new_driver_and_so_does_the_standby(services, disk):
    services.prepare(2)
    assert services.made[2, "disk0"].attach.spec == "old:path=a"
    swap(services)
    standby = services.made[2, "disk0"]
    eventually(lambda: standby.attach is not None)
    assert standby.attach.spec == NEW
    services.die(1)
    services.connect(2)
    assert services.made[2, "disk0"] is standby
    standby.take_control("activate")
    goes_on(services, disk, 0, epoch=2)


def test_a_device_that_nobody_serves_may_get_a_driver_that_does(services, disk):
    services.die(1)
    services.how[2, "disk0"] = {"opens": "no such file"}
    services.connect(2)
    services.how[2, "disk0"] = {}
    disk.submit(0)
    swap(services)
    new = services.made[2, "disk0"]
    new.take_control("activate")
    new.complete(*new.take_batch())
    eventually(lambda: disk.done() == [0])


def test_what_there_is_not_cannot_be_swapped(services, disk):
    with pytest.raises(PeerFault, match="service main has no device g/disk7"):
        services.directory.swap("main", "g/disk7", NEW, LONG_MS, False)
    with pytest.raises(PeerFault, match="service other is not connected"):
        services.directory.swap("other", "g/disk0", NEW, LONG_MS, False)
