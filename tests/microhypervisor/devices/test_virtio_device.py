"""A virtio device without a session: what it takes from the guest, what it gives back."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microhypervisor.limits import MAX_CONTROL
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from microhypervisor.memory.window import GrantWindow
from microhypervisor.virtio import constants as v
from protos import io_pb2
from tests.microhypervisor.conftest import LOW_RAM
from tests.microhypervisor.devices.hands import accept, collect
from tests.sessions.service import DATA, FEATURE, HEADER, Rig, described

STRIDE = 1 << 16


@pytest.fixture
def window():
    window = GrantWindow("g/disk", 16, STRIDE)
    yield window
    window.close()


# --- requests


@pytest.mark.parametrize(
    ("lengths", "header", "rest"),
    [
        ([16], 16, []),
        ([16, 512], 16, [512]),
        ([20, 512], 16, [4, 512]),
        ([512], 16, [496]),
        ([10, 6, 512], 16, [512]),
        ([10, 10, 512], 16, [4, 512]),
        ([4, 4, 4, 3, 2], 16, [1]),
        ([10], 10, []),
        ([], 0, []),
    ],
)
def test_the_header_is_the_first_bytes_however_they_are_cut(rig, lengths, header, rest):
    rig.poke(DATA, bytes(range(256)) * 3)
    buffers, at = [], DATA
    for length in lengths:
        buffers.append((0, at, length))
        at += length
    rig.submit(0, buffers=[*buffers, (v.DESC_WRITE, 0x5000, 1)])
    entry = collect(rig)[0]
    assert entry.header == (bytes(range(256)) * 3)[:header]
    assert [length for _, length in entry.readable] == rest
    assert entry.readable_bytes == sum(rest)
    if rest:
        assert entry.readable[0][0] == DATA + header


def test_queues_have_slots_of_their_own(rig):
    rig.submit(7, number=0)
    rig.submit(0, 7, number=1)
    assert sorted((e.queue, e.head, e.slot) for e in rig.device.collect()) == [
        (0, 7, 7),
        (1, 0, 8),
        (1, 7, 15),
    ]


def test_nothing_is_collected_before_the_driver_is_ready(rig):
    rig.submit(0)
    rig.device.transport.status &= ~v.DRIVER_OK
    assert collect(rig) == {}
    assert rig.device.listen() is False
    rig.device.transport.status |= v.DRIVER_OK
    assert rig.device.listen() is True
    assert list(collect(rig)) == [0]
    assert rig.device.listen() is False


@pytest.mark.parametrize("event_idx", [False, True])
def test_listening_asks_for_a_doorbell_on_every_queue(rig, event_idx):
    rig.start(features=FEATURE | (v.F_EVENT_IDX if event_idx else 0))
    while rig.device.next_control():
        pass
    for number in (0, 1):
        rig.submit(0, number=number)
    assert len(rig.device.collect()) == 2
    if not event_idx:
        assert [ring.used_flags for ring in rig.rings] == [v.USED_NO_NOTIFY] * 2
    assert rig.device.listen() is False
    assert [ring.used_flags for ring in rig.rings] == [0, 0]
    if event_idx:
        assert [ring.avail_event for ring in rig.rings] == [1, 1]


def test_what_a_guest_did_before_its_requests_is_told_before_them(rig):
    """A request must not overtake the Reset or Activate that came before it."""
    rig.start()
    rig.submit(0)
    assert collect(rig) == {}  # the sender asks for control messages first, and finds them next
    assert [rig.device.next_control().WhichOneof("body") for _ in range(2)] == ["reset", "activate"]
    assert rig.device.next_control() is None
    assert list(collect(rig)) == [0]


def test_a_guest_cannot_fill_the_core_with_configuration_writes(rig):
    for _ in range(MAX_CONTROL + 10):
        rig.device.mmio_write(v.CONFIG, 1, 0)
    rig.write(v.STATUS, 0)  # but a reset always gets through, alone
    assert rig.device.next_control().HasField("reset")
    assert rig.device.next_control() is None


def test_activate_gets_through_after_any_number_of_configuration_writes(rig):
    rig.write(v.STATUS, v.DRIVER | v.FEATURES_OK)
    for _ in range(MAX_CONTROL + 10):
        rig.device.mmio_write(v.CONFIG, 1, 0)
    rig.write(v.STATUS, v.DRIVER | v.FEATURES_OK | v.DRIVER_OK)
    told = []
    while message := rig.device.next_control():
        told.append(message.WhichOneof("body"))
    assert told[-1] == "activate"


def test_nor_by_a_driver_that_is_ready_again_and_again(rig):
    for _ in range(MAX_CONTROL + 10):
        rig.write(v.STATUS, v.DRIVER | v.FEATURES_OK)
        rig.write(v.STATUS, v.DRIVER | v.FEATURES_OK | v.DRIVER_OK)
    assert rig.device.next_control().HasField("activate")
    assert rig.device.next_control() is None


# --- queues taken out of service


def restart_queue(rig):
    """As a driver may without a reset (4.2.3.2): stop queue 0 and start it anew."""
    rig.write(v.QUEUE_SEL, 0)
    rig.write(v.QUEUE_READY, 0)
    rig.put_in_service(0, rig.rings[0])


def test_an_idle_queue_can_be_stopped_and_started_anew(rig):
    for _ in range(3):
        rig.submit(0)
        accept(rig, *collect(rig).values())
        assert rig.rings[0].take() == [(0, 0)]
        restart_queue(rig)


def test_a_queue_stopped_with_requests_in_flight_needs_a_reset(rig):
    rig.submit(0, 1)
    old = collect(rig)
    restart_queue(rig)
    rig.submit(0)
    assert collect(rig) == {}
    assert "in flight" in rig.device.status.needs_reset
    accept(rig, *old.values(), written=1)
    assert rig.rings[0].take() == []  # the new ring is not theirs
    rig.start()
    while rig.device.next_control():
        pass
    rig.submit(0)
    assert list(collect(rig)) == [0]


def test_requests_of_a_stopped_queue_complete_into_nothing(rig):
    rig.submit(0)
    entries = collect(rig)
    rig.write(v.QUEUE_SEL, 0)
    rig.write(v.QUEUE_READY, 0)
    accept(rig, *entries.values(), written=1)
    assert rig.rings[0].take() == []
    assert rig.device.log.idle


# --- completions


@pytest.mark.parametrize("written", [0, 1, 9, 10, 11, 70, 75])
@pytest.mark.parametrize("through", ["window", "inline"])
def test_what_was_written_is_scattered_and_nothing_more(rig, window, written, through):
    segments = [(DATA, 10), (DATA + 0x100, 60), (DATA + 0x200, 5)]
    for at, _ in segments:
        rig.poke(at, b"\xcc" * 0x80)
    buffers = [(0, rig.header_at(0), HEADER), *[(v.DESC_WRITE, at, n) for at, n in segments]]
    rig.submit(0, buffers=buffers)
    entry = collect(rig)[0]
    data = bytes(range(1, 76))
    if through == "window":
        window.offer(0, rig.memory.view, [], 75)
        window._view[0:75] = data
        accept(rig, entry, window=window, written=written)
    else:
        accept(rig, entry, written=written, payload=data)
    expected = data[:written] + b"\xcc" * (75 - written)
    got = b"".join(rig.peek(at, n) for at, n in segments)
    assert got == expected
    for at, n in segments:
        assert rig.peek(at + n, 0x80 - n) == b"\xcc" * (0x80 - n)
    assert rig.rings[0].take() == [(0, written)]


def test_a_missing_inline_payload_reads_as_zeros(rig):
    rig.poke(DATA, b"secret of before")
    rig.submit(0, buffers=[(0, rig.header_at(0), HEADER), (v.DESC_WRITE, DATA, 16)])
    accept(rig, collect(rig)[0], written=16, payload=b"short")
    assert rig.peek(DATA, 16) == b"short" + bytes(11)


# --- the end of a guest


@pytest.fixture
def doomed():
    """A device on memory of its own, which is to be closed while the driver is half way."""
    memory = GuestMemory("doomed", lay_out([(RegionKind.RAM, 0, LOW_RAM)]))
    rig = Rig(memory)
    rig.device.adopt(described())
    rig.device.begin_epoch()
    return rig


@pytest.mark.parametrize("stage", ["never started", "running", "queues only", "needs reset"])
def test_quiescing_lets_go_of_guest_memory_at_any_stage(doomed, stage):
    if stage != "never started":
        doomed.start()
    if stage == "queues only":
        doomed.device.transport.status &= ~v.DRIVER_OK
    if stage == "needs reset":
        while doomed.device.next_control():
            pass
        doomed.rings[0].offer(99)
        doomed.device.collect()
        assert doomed.device.status.needs_reset
    doomed.device.quiesce(5)
    doomed.device.close()
    doomed.memory.close()  # BufferError while a queue is still mapped


# --- any service OS against any guest


completions = st.lists(
    st.builds(
        io_pb2.Completion,
        slot=st.integers(0, 17) | st.just(0xFFFFFFFF),
        generation=st.integers(0, 30) | st.just(0xFFFFFFFF),
        written=st.integers(0, 40) | st.just(0xFFFFFFFF),
        payload=st.binary(max_size=50),
    ),
    max_size=6,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 2), st.sampled_from([0, 0, 1])),
        st.tuples(st.just("submit"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("collect")),
        st.tuples(st.just("collect")),
        st.tuples(st.just("accept"), completions, st.sampled_from([0, 1, 1, 1, 2])),
        st.tuples(st.just("answer"), st.integers(0, 20)),
        st.tuples(st.just("write"), st.sampled_from(range(0, 0x100, 4)), st.integers(0, 255)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("reset")),
        st.tuples(st.just("epoch")),
    ),
    min_size=8,
    max_size=40,
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=steps)
def test_no_guest_and_no_service_os_raise_or_write_where_nothing_was_offered(script):
    memory = GuestMemory("any", lay_out([(RegionKind.RAM, 0, LOW_RAM)]))
    rig = Rig(memory)
    rig.device.adopt(described())
    rig.device.begin_epoch()
    rig.start()
    entries = []
    fence = LOW_RAM - 0x1000
    rig.poke(fence, b"\xcc" * 0x1000)
    try:
        for name, *arguments in script:
            match name:
                case "submit":
                    rig.submit(arguments[0], number=arguments[1])
                case "collect":
                    entries += rig.device.collect()
                case "accept":
                    done, epoch = arguments
                    message = io_pb2.Completions(epoch=epoch, completions=done)
                    rig.device.accept(message, 1, None)
                case "answer" if entries:
                    accept(rig, entries[arguments[0] % len(entries)], written=1, payload=b"x")
                case "write":
                    rig.write(*arguments)
                case "restart":
                    restart_queue(rig)
                case "reset":
                    rig.start()
                case "epoch":
                    replayed = rig.device.begin_epoch()[1]
                    assert all(e in entries for e in replayed)
                    assert [e.generation for e in replayed] == sorted(
                        e.generation for e in replayed
                    )
        assert rig.peek(fence, 0x1000) == b"\xcc" * 0x1000
    finally:
        for queue in rig.device._queues:
            queue.disable()
        rig.device.close()
        memory.close()
