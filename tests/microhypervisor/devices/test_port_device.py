"""Legacy ports whose accesses a service OS answers: posted writes, waiting reads, replay."""

import queue
import threading

import pytest

from microhypervisor.devices.port_device import PortDevice, all_ones
from protos import core_pb2, io_pb2
from tests.sessions.service import PATIENCE, Served, eventually

BASE = 0x3F8
SLOTS = 4


class Ports(Served):
    """A device at eight ports."""

    described = io_pb2.Attached(slots=SLOTS)

    def __init__(self, memory):
        config = core_pb2.DeviceConfig(name="com1", service="main", model="uart", spec="log:x")
        config.ports.base, config.ports.count, config.ports.irq = BASE, 8, 4
        super().__init__(PortDevice("g", config, memory, None))
        self.reads = []

    def out(self, port, value, size=1):
        self.device.port_out(BASE + port, size, value)

    def start_in(self, port, size=1):
        """Begin a read on a thread of its own; a queue that will hold its value."""
        result = queue.SimpleQueue()
        read = threading.Thread(
            target=lambda: result.put(self.device.port_in(BASE + port, size)), daemon=True
        )
        self.reads.append(read)
        read.start()
        return result

    def close(self):
        self.device.release_waiters()
        for read in self.reads:
            read.join(PATIENCE)
            assert not read.is_alive()
        super().close()


@pytest.fixture
def ports(memory):
    ports = Ports(memory)
    yield ports
    ports.close()


def accesses(requests):
    return [(r.access.offset, r.access.size, r.access.write, r.access.value) for r in requests]


def take(service, count, replay=False):
    """So many requests, in however many messages."""
    requests = []
    while len(requests) < count:
        requests += service.take_batch(replay)
    return requests


def value(request, number):
    return io_pb2.Completion(slot=request.slot, generation=request.generation, value=number)


def test_writes_are_posted_in_order_and_reads_get_their_answer(ports):
    service = ports.attach()
    ports.out(0, ord("h"))
    ports.out(0, 0x6969, size=2)
    reading = ports.start_in(5)
    requests = take(service, 3)
    assert accesses(requests)[:2] == [(0, 1, True, ord("h")), (0, 2, True, 0x6969)]
    assert accesses(requests)[2][:3] == (5, 1, False)
    assert reading.empty()
    service.answer(value(requests[2], 0x160))
    assert reading.get(timeout=PATIENCE) == 0x60  # a byte was asked for
    service.complete(*requests[:2])
    eventually(lambda: ports.device.log.idle)
    status = ports.device.status
    assert (status.requests, status.completions) == (3, 3)
    assert (status.bytes_from_guest, status.bytes_to_guest) == (3, 1)


def test_the_service_os_decides_on_interrupts(ports):
    service = ports.attach()
    ports.out(0, 1)
    requests = take(service, 1)
    service.complete(*requests)
    eventually(lambda: ports.device.log.idle)
    assert ports.pulses.empty()
    service.answer(interrupt=True)
    ports.pulses.get(timeout=PATIENCE)
    assert ports.device.status.interrupts == 1


def test_a_read_survives_the_death_of_its_service_os(ports):
    first = ports.attach()
    ports.out(0, 1)
    reading = ports.start_in(5, size=4)
    assert accesses(take(first, 2))[1][:3] == (5, 4, False)
    ports.lose(first)
    ports.out(1, 2)  # while nobody serves
    assert reading.empty()
    second = ports.attach()
    replayed = take(second, 3, replay=True)
    assert [a[0] for a in accesses(replayed)] == [0, 5, 1]  # each once, in order
    assert second.idle(ports.device)
    second.complete(replayed[0], replayed[2])
    second.answer(value(replayed[1], 0xCAFEBABE))
    assert reading.get(timeout=PATIENCE) == 0xCAFEBABE
    assert ports.replays.get(timeout=PATIENCE) == 3


def test_writes_wait_when_as_many_as_agreed_are_in_flight(ports):
    service = ports.attach()
    for count in range(SLOTS):
        assert ports.device.port_out(BASE, 1, count, wait=False)
    assert not ports.device.port_out(BASE, 1, 99, wait=False)
    late = threading.Thread(target=ports.out, args=(0, 99))
    late.start()
    requests = take(service, SLOTS)
    assert service.idle(ports.device)
    assert len({r.slot for r in requests}) == SLOTS
    service.complete(requests[2])
    (last,) = take(service, 1)
    late.join(PATIENCE)
    assert (last.slot, last.access.value) == (requests[2].slot, 99)
    assert last.generation != requests[2].generation


def test_wrong_answers_are_dropped_and_the_read_goes_on_waiting(ports):
    service = ports.attach()
    reading = ports.start_in(0)
    (request,) = take(service, 1)
    service.answer(
        io_pb2.Completion(slot=request.slot, generation=request.generation + 1, value=1),
        io_pb2.Completion(slot=SLOTS, generation=request.generation, value=2),
        io_pb2.Completion(
            slot=request.slot, generation=request.generation, written=1, payload=b"x", value=3
        ),
    )
    service.answer(value(request, 4), epoch=77)
    service.answer(value(request, 5))
    assert reading.get(timeout=PATIENCE) == 5
    service.answer(value(request, 6))
    eventually(lambda: ports.device.status.dropped == 5)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_when_the_guest_ends_reads_give_all_ones_and_writes_vanish(ports, size):
    reading = ports.start_in(0, size)
    eventually(lambda: ports.device._changed._waiters)
    ports.device.release_waiters()
    assert reading.get(timeout=PATIENCE) == all_ones(size)
    ports.out(0, 1)
    assert ports.device.port_out(BASE, size, 1, wait=False)
    assert ports.device.port_in(BASE, size) == all_ones(size)


def test_a_write_that_waits_for_room_vanishes_when_the_guest_ends(ports):
    ports.attach()
    for count in range(SLOTS):
        ports.out(0, count)
    late = threading.Thread(target=ports.out, args=(0, 99))
    late.start()
    ports.device.release_waiters()
    late.join(PATIENCE)
    assert not late.is_alive()
    assert len(ports.device.log) == SLOTS


def test_what_was_posted_at_the_end_is_still_answered(ports):
    service = ports.attach()
    ports.out(0, ord("\n"))
    ports.device.release_waiters()
    ports.device.quiesce(5)
    assert not ports.device.wait_drained(0)
    service.complete(*take(service, 1))
    assert ports.device.wait_drained(PATIENCE)


@pytest.mark.parametrize(
    "answer",
    [
        io_pb2.Attached(),
        io_pb2.Attached(slots=1025),
        io_pb2.Attached(device_id=2, slots=4),
        io_pb2.Attached(device_id=2, queues=[io_pb2.Queue(max_size=8)]),
    ],
)
def test_what_is_no_port_device_is_refused(ports, answer):
    assert ports.open(answer) == "device com1: uart is not a port device"


def test_a_port_device_has_no_configuration_to_change(ports):
    service = ports.attach()
    service.say(config_change=io_pb2.ConfigChange(config_space=b""))
    assert "no configuration space" in ports.losses.get(timeout=PATIENCE)


def test_another_number_of_slots_after_a_death_is_refused(ports):
    ports.lose(ports.attach())
    assert "not what the guest has seen" in ports.open(io_pb2.Attached(slots=SLOTS + 1))
    ports.attach()


def test_accesses_of_a_held_device_are_owed_by_nobody_and_replayed(ports):
    service = ports.attach()
    ports.out(0, 1)
    (request,) = take(service, 1)
    ports.device.hold(True)
    ports.out(0, 2)
    assert service.idle(ports.device)
    assert ports.device.owes()
    service.complete(request)
    assert ports.device.wait_answered(lambda: False, PATIENCE)
    assert len(ports.device.log) == 1
    ports.lose(service)
    assert accesses(take(ports.attach(), 1, replay=True)) == [(0, 1, True, 2)]


def test_an_access_that_is_answered_unasked_hides_none_that_is_owed(ports):
    """Only a hostile service OS guesses slots and generations."""
    service = ports.attach()
    ports.out(0, 1)
    (request,) = take(service, 1)
    ports.device.hold(True)
    ports.out(0, 2)
    guess = io_pb2.Completion(slot=SLOTS - 2, generation=2)
    assert ports.device.accept(io_pb2.Completions(epoch=1, completions=[guess]), 1, None) == 1
    assert ports.device.owes()
    service.complete(request)
    assert ports.device.wait_answered(lambda: False, PATIENCE)
