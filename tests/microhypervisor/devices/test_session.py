"""Transcripts of a device and its service OSes: attach, traffic, death, replay."""

import os
import threading

import pytest

from microhypervisor.devices import session
from microhypervisor.limits import MAX_BATCH, MAX_STATE, SLOT_STRIDE
from microhypervisor.virtio import constants as v
from protos import io_pb2
from tests.microhypervisor.devices.service import (
    CONFIG,
    FEATURE,
    HEADER,
    PATIENCE,
    TOKEN,
    Rig,
    described,
    eventually,
)

DATA = 0x100000


def slots(requests):
    return [r.slot for r in requests]


def running(rig):
    """A service OS that serves a device whose driver is ready."""
    service = rig.attach()
    rig.start()
    assert service.take().HasField("reset")
    assert service.take().HasField("activate")
    return service


# --- attach and traffic


def test_attach_says_who_and_what(rig):
    service = rig.attach()
    attach = service.attach
    assert (attach.epoch, attach.token, attach.guest, attach.device) == (1, TOKEN, "g", "disk")
    assert (attach.model, attach.spec, attach.state) == ("block", "memory:1M", b"")
    if rig.device.config.inline_payload:
        assert not attach.HasField("window")
        assert service.granted is None
    else:
        assert (attach.window.bytes, attach.window.stride) == (len(service.view), SLOT_STRIDE)
        assert service.granted == io_pb2.Grant(epoch=1, token=TOKEN, guest="g", device="disk")


def test_the_life_of_a_request(rig):
    service = running(rig)
    data = bytes(range(200)) + bytes(100)
    rig.poke(DATA, data)
    buffers = [(0, rig.header_at(3), HEADER), (0, DATA, 300), (v.DESC_WRITE, DATA + 512, 100)]
    rig.submit(3, buffers=buffers)
    (request,) = service.take_batch()
    assert (request.slot, request.queue, request.header) == (3, 0, b"\3" * HEADER)
    assert (request.readable, request.writable) == (300, 100)
    if request.inlined:
        assert request.payload == data
        answer = io_pb2.Completion(slot=3, generation=request.generation, written=5)
        answer.payload = b"world"
        service.answer(answer)
    else:
        assert request.payload == b""
        at = 3 * SLOT_STRIDE
        assert service.view[at : at + 300] == data
        at += 320
        assert service.view[at : at + 100] == bytes(100)
        service.view[at : at + 5] = b"world"
        service.complete(request, written=5)
    assert rig.interrupted() == v.INT_VRING
    assert rig.rings[0].take() == [(3, 5)]
    assert rig.peek(DATA + 512, 5) == b"world"
    status = rig.device.status
    assert (status.requests, status.completions, status.in_flight) == (1, 1, 0)
    assert (status.bytes_from_guest, status.bytes_to_guest) == (300, 5)
    assert (status.interrupts, status.dropped, status.replayed) == (1, 0, 0)


def test_activation_tells_the_features_as_negotiated(windowed):
    service = windowed.attach()
    windowed.start(features=FEATURE | v.F_EVENT_IDX)
    service.take_control("reset")
    assert service.take_control("activate").features == FEATURE | v.F_EVENT_IDX | v.F_VERSION_1


def test_configuration_writes_are_passed_on_in_order(windowed):
    service = running(windowed)
    windowed.device.mmio_write(v.CONFIG + 1, 2, 0x0201)
    windowed.device.mmio_write(v.CONFIG + 4, 1, 9)
    first, second = service.take_control("config_write"), service.take_control("config_write")
    assert (first.offset, first.data) == (1, b"\1\2")
    assert (second.offset, second.data) == (4, b"\x09")


def test_a_changed_configuration_interrupts_the_driver(windowed):
    service = running(windowed)
    generation = windowed.read(v.CONFIG_GENERATION)
    service.say(config_change=io_pb2.ConfigChange(config_space=b"\x10" + CONFIG[1:]))
    assert windowed.interrupted() == v.INT_CONFIG
    assert windowed.read(v.CONFIG) == 0x10
    assert windowed.read(v.CONFIG_GENERATION) != generation


def test_all_that_waits_travels_in_one_message_but_no_more_than_a_batch(windowed):
    big = described(io_pb2.Queue(max_size=1024))
    service = windowed.attach(big)
    windowed.start(size=512, queues=1)
    service.take_control("reset")
    service.take_control("activate")
    ring = windowed.rings[0]
    for head in range(300):
        ring.describe(head, DATA, 1)
    ring.offer(*range(300))
    windowed.write(v.QUEUE_NOTIFY, 0)
    first = service.take_batch()
    assert slots(first) == list(range(MAX_BATCH))
    assert slots(service.take_batch()) == list(range(MAX_BATCH, 300))
    service.complete(*first)
    assert windowed.done() == list(range(MAX_BATCH))  # one interrupt for all


def test_a_request_larger_than_its_area_travels_inline(windowed):
    service = running(windowed)
    windowed.poke(DATA, b"begin")
    windowed.poke(DATA + SLOT_STRIDE, b"end")
    length = SLOT_STRIDE + 3
    windowed.submit(1, buffers=[(0, windowed.header_at(1), HEADER), (0, DATA, length)])
    (request,) = service.take_batch()
    assert request.inlined
    assert (len(request.payload), request.readable) == (length, length)
    assert (request.payload[:5], request.payload[-3:]) == (b"begin", b"end")
    service.complete(request)
    assert windowed.done() == [1]
    windowed.submit(2, buffers=[(0, windowed.header_at(2), HEADER), (v.DESC_WRITE, DATA, length)])
    (request,) = service.take_batch()
    assert request.inlined
    answer = io_pb2.Completion(slot=2, generation=request.generation, written=length)
    answer.payload = b"x" * 10  # what is missing reads as zeros
    service.answer(answer)
    assert windowed.done() == [2]
    assert windowed.peek(DATA, 12) == b"x" * 10 + b"\0\0"
    assert windowed.peek(DATA + SLOT_STRIDE, 3) == bytes(3)


def test_large_inline_requests_are_spread_over_messages(memory):
    rig = Rig(memory, inline=True)
    service = running(rig)
    for head in range(8):
        rig.chain(head, buffers=[(0, rig.header_at(head), HEADER), (0, 0, 3 << 20)])
    rig.rings[0].offer(*range(8))
    rig.write(v.QUEUE_NOTIFY, 0)
    sizes = [len(service.take_batch()) for _ in range(3)]
    assert sizes == [3, 3, 2]
    rig.close()


def test_an_interrupt_that_the_driver_does_not_want_is_not_given(windowed):
    service = running(windowed)
    windowed.rings[0].want_interrupts(False)
    windowed.submit(0)
    service.complete(*service.take_batch(), written=1)
    eventually(lambda: windowed.rings[0].take() == [(0, 1)])
    windowed.sync(service)
    assert windowed.interrupted() == v.INT_CONFIG  # that of sync alone
    assert windowed.pulses.empty()
    assert windowed.device.status.interrupts == 0


# --- what a service OS may not do


def dropped(rig, service, count):
    """Wait until the core has dealt with everything; so many were dropped."""
    rig.sync(service)
    assert rig.device.status.dropped == count


def test_a_completion_counts_once(rig):
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    service.complete(requests[0], requests[0])
    service.complete(requests[0])
    assert rig.done() == [0]
    dropped(rig, service, 2)
    assert rig.rings[0].take() == []
    service.complete(requests[1])
    eventually(lambda: rig.rings[0].take() == [(1, 0)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"slot": 5},
        {"slot": 0xFFFFFFFF},
        {"generation": 0},
        {"generation": 0xFFFFFFFF},
        {"written": 2},
        {"written": 0xFFFFFFFF},
    ],
)
def test_a_wrong_completion_is_dropped_and_changes_nothing(rig, wrong):
    service = running(rig)
    rig.submit(0)
    (request,) = service.take_batch()
    right = {"slot": 0, "generation": request.generation, "written": 1, "payload": b"!"}
    service.answer(io_pb2.Completion(**{**right, **wrong}))
    dropped(rig, service, 1)
    assert rig.rings[0].take() == []
    assert len(rig.device.log) == 1
    service.answer(io_pb2.Completion(**right))  # the request is still there to be completed
    eventually(lambda: rig.rings[0].take() == [(0, 1)])


@pytest.mark.parametrize("epoch", [0, 1, 3, (1 << 64) - 1])
def test_messages_of_another_epoch_are_dropped_whole(rig, epoch):
    rig.lose(rig.attach())
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    service.complete(*requests, epoch=epoch, state=b"not this")
    dropped(rig, service, 2)
    assert rig.rings[0].take() == []
    assert rig.device.state == b""


def test_wrong_completions_do_not_spoil_right_ones_in_the_same_message(rig):
    service = running(rig)
    rig.submit(0, 1)
    requests = service.take_batch()
    bad = io_pb2.Completion(slot=7, generation=1)
    good = [io_pb2.Completion(slot=r.slot, generation=r.generation) for r in requests]
    service.answer(good[1], bad, good[0])
    assert rig.done() == [1, 0]
    dropped(rig, service, 1)


def test_completions_before_attached_are_dropped(rig):
    service = running(rig)
    rig.lose(service)
    early = io_pb2.Completions(epoch=2, completions=[io_pb2.Completion(slot=1, generation=1)])
    rig.open("hangs up")  # epoch 2, refused
    rig.device.accept(early, 2, None)
    assert rig.device.status.dropped == 1


def test_attaching_twice_ends_the_session(rig):
    service = running(rig)
    service.say(attached=described())
    assert rig.losses.get(timeout=PATIENCE) == "the service OS attached twice"


def test_a_configuration_of_another_size_ends_the_session(rig):
    service = running(rig)
    service.say(config_change=io_pb2.ConfigChange(config_space=CONFIG + b"\0"))
    assert "the configuration space changed size" in rig.losses.get(timeout=PATIENCE)
    assert rig.device.transport.config == CONFIG


def test_a_state_that_is_too_large_loses_no_completion(rig):
    service = running(rig)
    rig.submit(0)
    service.complete(*service.take_batch(), state=b"kept")
    assert rig.done() == [0]
    rig.submit(1)
    (request,) = service.take_batch()
    service.complete(request, state=bytes(MAX_STATE + 1))
    problem = rig.losses.get(timeout=PATIENCE)
    assert "state" in problem
    assert rig.device.state == b"kept"
    # the request is either done or replayed
    if rig.rings[0].take() != [(1, 0)]:
        service = rig.attach(described(state=b"kept"))
        service.take_control("activate")
        assert slots(service.take_batch(replay=True)) == [1]


def test_a_state_of_the_largest_size_is_kept_and_handed_on(rig):
    service = running(rig)
    state = b"s" * MAX_STATE
    rig.submit(0)
    service.complete(*service.take_batch(), state=state)
    assert rig.done() == [0]
    rig.lose(service)
    assert rig.attach().attach.state == state


def test_the_state_told_with_attached_is_handed_on(rig):
    rig.lose(rig.attach(described(state=b"one")))
    second = rig.attach(described(state=b"two"))
    assert second.attach.state == b"one"
    rig.lose(second)
    assert rig.attach().attach.state == b"two"


# --- death and replay


def test_what_is_in_flight_is_replayed_in_order_before_anything_new(rig):
    first = running(rig)
    rig.submit(4, 2)
    rig.submit(7)
    requests = first.take_batch()
    while len(requests) < 3:
        requests += first.take_batch()
    first.complete(requests[1])
    assert rig.done() == [2]
    assert rig.lose(first) == "the service OS died"

    rig.submit(2, 0)  # while nobody serves
    second = rig.attach()
    second.take_control("activate")
    replayed = second.take_batch(replay=True)
    assert slots(replayed) == [4, 7]
    assert [r.header for r in replayed] == [b"\4" * HEADER, b"\7" * HEADER]
    assert [r.generation for r in replayed] == [requests[0].generation, requests[2].generation]
    assert second.idle(rig.device)  # 2 and 0 wait
    second.complete(replayed[1])
    assert rig.done() == [7]
    assert second.idle(rig.device)
    assert rig.replays.empty()
    second.complete(replayed[0])
    assert rig.done() == [4]
    assert rig.replays.get(timeout=PATIENCE) == 2
    assert slots(second.take_batch()) == [2, 0]
    assert rig.device.status.replayed == 2
    assert rig.device.status.requests == 5


@pytest.mark.parametrize(
    "wrong", [{"epoch": 1}, {"written": 9}, {"generation": 77}], ids=lambda w: next(iter(w))
)
def test_a_refused_completion_of_a_replayed_request_lets_nothing_new_pass(rig, wrong):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.lose(first)
    rig.submit(1)
    second = rig.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    answer = {"slot": 0, "generation": request.generation, "epoch": 2, **wrong}
    epoch = answer.pop("epoch")
    second.answer(io_pb2.Completion(**answer), epoch=epoch)
    dropped(rig, second, 1)
    assert second.idle(rig.device)
    second.complete(request)
    assert slots(second.take_batch()) == [1]


def test_parked_requests_are_replayed_but_not_waited_for(rig):
    first = running(rig)
    rig.submit(3, number=1)
    assert slots(first.take_batch()) == [8 + 3]
    rig.lose(first)
    second = rig.attach()
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [11]
    rig.submit(0)
    assert slots(second.take_batch()) == [0]


def test_replayed_payload_comes_from_guest_memory_never_from_the_old_window(windowed):
    first = running(windowed)
    windowed.poke(DATA, b"first")
    windowed.submit(0, buffers=[(0, windowed.header_at(0), HEADER), (0, DATA, 5)])
    first.take_batch()
    first.view[0:5] = b"EVIL!"
    windowed.lose(first)
    windowed.poke(DATA, b"still")
    windowed.poke(windowed.header_at(0), b"x" * HEADER)
    second = windowed.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    assert second.view[0:5] == b"still"
    assert request.header == b"\0" * HEADER  # from the log's own copy


def test_the_old_window_is_of_no_use_after_the_epoch(windowed):
    first = running(windowed)
    windowed.submit(0)
    first.take_batch()
    windowed.lose(first)
    second = windowed.attach()
    second.take_control("activate")
    (request,) = second.take_batch(replay=True)
    first.view[:SLOT_STRIDE] = b"\xee" * SLOT_STRIDE  # it is not dead enough
    second.complete(request, written=1)
    assert windowed.done() == [0]
    assert windowed.peek(windowed.header_at(0) + HEADER, 1) == b"\0"


def test_an_incarnation_that_dies_while_replaying_is_followed_by_one_that_does_it_all(rig):
    service = running(rig)
    rig.submit(0, 1, 2)
    service.take_batch()
    for victim in (0, 1):
        rig.lose(service)
        service = rig.attach()
        service.take_control("activate")
        requests = service.take_batch(replay=True)
        assert slots(requests) == list(range(victim, 3))
        service.complete(requests[0])
        assert rig.done() == [victim]
    assert rig.replays.empty()  # it has not finished yet
    service.complete(requests[1])
    assert rig.done() == [2]
    assert rig.replays.get(timeout=PATIENCE) == 2


def test_a_request_that_was_taken_but_never_sent_is_replayed(rig):
    """Between collect and send there is only the log."""
    first = running(rig)
    rig.lose(first)
    rig.submit(5)
    assert [e.head for e in rig.device.collect()] == [5]
    second = rig.attach()
    second.take_control("activate")
    assert slots(second.take_batch(replay=True)) == [5]


def test_requests_before_the_first_attach_of_an_epoch_wait_in_the_ring(rig):
    rig.lose(running(rig))
    rig.submit(1, 6)
    service = rig.attach()
    service.take_control("activate")
    assert slots(service.take_batch()) == [1, 6]


REQUESTS = 4
MESSAGES = REQUESTS + 2  # a reset, an activation, and each request by itself


@pytest.mark.parametrize(
    ("heard", "answered"),
    [(heard, answered) for heard in range(MESSAGES + 1) for answered in range(REQUESTS + 1)],
)
def test_death_after_any_message_loses_and_doubles_nothing(windowed, heard, answered):
    """An incarnation dies having heard and answered so much; the next one serves all."""
    rig = windowed
    first = rig.attach()
    rig.start()
    for head in range(REQUESTS):
        rig.submit(head)
        first.idle(rig.device)  # so that the next request has a message of its own
    taken = [first.take() for _ in range(heard)]
    batches = [message.batch for message in taken if message.HasField("batch")]
    for batch in batches[:answered]:
        first.complete(*batch.requests)
    rig.lose(first)
    second = rig.attach()
    assert second.take().HasField("activate")
    while not (second.idle(rig.device) and rig.device.log.idle):
        second.complete(*second.take().batch.requests)
        rig.sync(second)
    assert sorted(head for head, _ in rig.rings[0].take()) == list(range(REQUESTS))
    assert rig.device.status.dropped == 0
    assert rig.device.status.completions == REQUESTS
    assert rig.device.status.replayed == REQUESTS - min(len(batches), answered)


# --- resets by the guest


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


# --- attaching that fails


OTHERS = [
    described(device_id=3),
    described(features=FEATURE << 1),
    described(io_pb2.Queue(max_size=8, header_bytes=HEADER)),
    described(io_pb2.Queue(max_size=16, header_bytes=HEADER), io_pb2.Queue(max_size=8, parks=True)),
    described(io_pb2.Queue(max_size=8, header_bytes=8), io_pb2.Queue(max_size=8, parks=True)),
    described(slots=1),
    described(config_space=CONFIG + b"\0"),
]


@pytest.mark.parametrize("answer", OTHERS)
def test_another_device_than_before_is_refused_and_the_right_one_is_not(rig, answer):
    first = running(rig)
    rig.submit(0)
    first.take_batch()
    rig.lose(first)
    for _ in range(2):
        assert rig.open(answer)
        assert not rig.session.attached
    third = rig.attach()
    third.take_control("activate")
    assert slots(third.take_batch(replay=True)) == [0]


def test_a_refused_description_does_not_replace_the_state(rig):
    rig.lose(rig.attach(described(state=b"kept")))
    assert rig.open(described(device_id=3, state=b"another's"))
    assert rig.attach(described(state=b"kept")).attach.state == b"kept"


def test_a_configuration_that_changed_over_a_death_is_told_to_the_driver(rig):
    first = running(rig)
    rig.lose(first)
    rig.attach(described(config_space=b"\x40" + CONFIG[1:]))
    assert rig.interrupted() == v.INT_CONFIG
    assert rig.read(v.CONFIG) == 0x40


def test_the_configuration_after_a_death_is_what_the_new_incarnation_says(rig):
    first = running(rig)
    first.say(config_change=io_pb2.ConfigChange(config_space=b"\x40" + CONFIG[1:]))
    assert rig.interrupted() == v.INT_CONFIG
    rig.lose(first)
    rig.attach()  # which knows nothing of the change
    assert rig.interrupted() == v.INT_CONFIG
    assert rig.read(v.CONFIG) == int.from_bytes(CONFIG[:4], "little")


Q = io_pb2.Queue
HOSTILE = {
    "no device": described(device_id=0),
    "a queue of none": described(Q(max_size=0)),
    "a queue of three": described(Q(max_size=3)),
    "a queue too long": described(Q(max_size=2048)),
    "too many slots": described(Q(max_size=1024), Q(max_size=1)),
    "too many queues": described(*[Q(max_size=1)] * 17),
    "a feature of the ring": described(features=v.F_EVENT_IDX),
    "a feature of the transport": described(features=1 << 33),
    "a reserved feature": described(features=1 << 41),
    "a header that would fill the core's memory": described(Q(max_size=8, header_bytes=1 << 31)),
    "a state that is too large": described(state=bytes(MAX_STATE + 1)),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_descriptions_that_make_no_sense_are_refused(rig, answer):
    problem = rig.open(answer)
    assert problem.startswith("device disk: ") or "disk" in problem
    assert "\n" not in problem
    assert rig.losses.empty()  # it never was attached
    rig.attach()  # and the next may do better


def test_no_queues_at_all_are_refused(rig):
    answer = described()
    answer.ClearField("queues")
    assert "makes no sense" in rig.open(answer)


def test_a_refusal_is_passed_on_in_its_own_words(rig):
    assert rig.open("no such driver: use memory") == "no such driver: use memory"
    rig.attach()


def test_a_service_os_that_does_not_answer_attach_has_failed(rig, monkeypatch):
    monkeypatch.setattr(session, "ATTACH_TIMEOUT_S", 0.05)
    assert rig.open(False) == "no answer to Attach within 0.05 s"
    monkeypatch.undo()
    rig.attach()


def test_a_window_that_nobody_takes_is_a_problem_and_the_next_incarnation_is_not(windowed):
    assert windowed.open(refuse_grant=True) == "nobody takes the window"
    windowed.attach()  # closes the failed session first


def test_sessions_leave_nothing_open(rig):
    def everything():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    rig.attach()
    rig.session.close()
    rig.services[-1].join()
    before = everything()
    for _ in range(10):
        rig.attach()
        rig.session.close()
        rig.services[-1].join()
        rig.open("refused")
        rig.services[-1].join()
    if not rig.device.config.inline_payload:
        for _ in range(5):
            rig.open(refuse_grant=True)
    assert everything() == before


def test_closing_twice_and_after_a_death_is_fine(rig):
    service = running(rig)
    rig.lose(service)
    rig.session.close()
    rig.session.close()
    assert rig.losses.empty()
