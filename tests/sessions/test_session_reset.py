"""Resets by the guest, and faults that need one: what was in flight reaches no new ring."""

from microhypervisor.virtio import constants as v
from tests.sessions.service import eventually, running, slots


def test_nothing_new_goes_out_until_what_a_reset_left_behind_is_answered(rig):
    service = running(rig)
    rig.submit(0, 1)
    old = service.take_batch()
    rig.start()
    service.take_control("reset")
    service.take_control("activate")
    rig.submit(0)
    assert service.idle(rig.device)
    service.complete(old[0])
    rig.sync(service)
    assert service.idle(rig.device)
    service.complete(old[1], written=1)
    (request,) = service.take_batch()
    assert request.slot == 0
    assert request.generation not in {r.generation for r in old}
    assert rig.rings[0].take() == []  # the answers to the old ones did not reach the new ring
    service.complete(old[0])  # nor does a late one
    service.complete(request)
    eventually(lambda: rig.rings[0].take() == [(0, 0)])
    assert rig.device.status.dropped == 1


def test_what_a_reset_left_behind_dies_with_its_service_os(rig):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.start()
    rig.submit(0)
    rig.lose(first)
    second = rig.attach()
    second.take_control("activate")
    assert slots(second.take_batch()) == [0]
    assert rig.device.status.replayed == 0


def test_a_reset_while_replaying_does_not_wait_for_the_replay(rig):
    first = running(rig)
    rig.submit(0, 1)
    first.take_batch()
    rig.lose(first)
    second = rig.attach()
    second.take_control("activate")
    replayed = second.take_batch(replay=True)
    rig.start()
    second.take_control("reset")
    second.take_control("activate")
    rig.submit(2)
    assert second.idle(rig.device)
    second.complete(*replayed)
    assert slots(second.take_batch()) == [2]


def test_a_reset_while_nobody_serves_leaves_nothing_to_replay(rig):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.lose(first)
    rig.write(v.STATUS, 0)
    second = rig.attach()
    assert second.idle(rig.device)  # not even an Activate
    rig.start()
    assert [second.take().WhichOneof("body") for _ in range(2)] == ["reset", "activate"]
    rig.submit(3)
    assert slots(second.take_batch()) == [3]


def test_a_guest_that_breaks_a_rule_stops_its_device_until_it_resets_it(rig):
    service = running(rig)
    rig.submit(0)
    (request,) = service.take_batch()
    rig.rings[0].offer(0xFFFF)
    rig.write(v.QUEUE_NOTIFY, 0)
    assert rig.interrupted() == v.INT_CONFIG
    assert rig.read(v.STATUS) & v.NEEDS_RESET
    assert rig.notices == [rig.device.status.needs_reset]
    assert "queue 0: head 65535" in rig.notices[0]
    service.complete(request)  # what was fine before still completes
    assert rig.done() == [0]
    rig.start()
    assert rig.device.status.needs_reset == ""
    service.take_control("reset")
    service.take_control("activate")
    rig.submit(1)
    service.complete(*service.take_batch())
    assert rig.done() == [1]


def test_rings_outside_memory_stop_the_device_when_put_in_service(rig):
    running(rig)
    rig.write(v.QUEUE_SEL, 0)
    rig.write(v.QUEUE_READY, 0)
    rig.write(v.QUEUE_DESC_HIGH, 0xFFFF)
    rig.write(v.QUEUE_READY, 1)
    assert rig.interrupted() == v.INT_CONFIG
    assert "descriptor table" in rig.device.status.needs_reset
