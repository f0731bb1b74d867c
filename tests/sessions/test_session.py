"""A session in ordinary times: attach, traffic, interrupts, and closing with nothing left open."""

import os
import threading

from microhypervisor.limits import MAX_BATCH, SLOT_STRIDE
from microhypervisor.virtio import constants as v
from protos import core_pb2 as pb
from protos import io_pb2
from sessions.session import Session
from tests.sessions.scarce import descriptors
from tests.sessions.service import (
    CONFIG,
    DATA,
    FEATURE,
    HEADER,
    TOKEN,
    Rig,
    ScriptedService,
    described,
    eventually,
    running,
    slots,
)


def test_attach_says_who_and_what(rig):
    service = rig.attach()
    attach = service.attach
    assert (attach.epoch, attach.token, attach.guest, attach.device) == (1, TOKEN, "g", "disk")
    assert (attach.model, attach.spec, service.begin.state) == ("block", "memory:1M", b"")
    if rig.device.config.inline_payload:
        assert not attach.HasField("window")
        assert service.granted is None
    else:
        assert (attach.window.bytes, attach.window.stride) == (len(service.view), SLOT_STRIDE)
        number = attach.window.number
        wanted = io_pb2.Grant(epoch=1, token=TOKEN, guest="g", device="disk", number=number)
        assert (service.granted, number > 0) == (wanted, True)


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
        for left in range(3):  # for a window, its mapping, and what its taker makes of it
            with descriptors(left):
                assert "Too many open files" in rig.open()
    assert everything() == before


def test_closing_twice_and_after_a_death_is_fine(rig):
    service = running(rig)
    rig.lose(service)
    rig.session.close()
    rig.session.close()
    assert rig.losses.empty()


def test_one_that_is_closed_before_it_starts_says_nothing(rig):
    rig.attach()
    rig.session.close()
    service, losses = ScriptedService(2, described()), []
    endpoint = pb.ServiceEndpoint(epoch=2)
    session = Session(rig.device, endpoint, service, lambda *lost: losses.append(lost), print)
    session.close()
    session.start(awaited=False)
    assert str(session.wait_opened()) == "closed"
    assert service.attach is None
    assert losses == []
    service.join()
