import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.io_pb2 import Request
from service_os.models.console import INPUT_BYTES, RECEIVEQ, TRANSMITQ, ConsoleModel

NOTHING = memoryview(b"")


class Guest:
    """Plays the guest's side of a console: numbers its requests and owns its buffers."""

    def __init__(self, state=b"", origin=0):
        self.model = ConsoleModel(state, origin)
        self.buffers = {}

    def send(self, data, slot=1000):
        request = Request(slot=slot, queue=TRANSMITQ)
        return self.answers(self.model.submit(request, memoryview(data), NOTHING))

    def offer(self, slot, size):
        self.buffers[slot] = bytearray(size)
        request = Request(slot=slot, queue=RECEIVEQ)
        done = self.model.submit(request, NOTHING, memoryview(self.buffers[slot]))
        return self.answers(done)

    def typed(self, data):
        return self.answers(self.model.receive(data))

    def reset(self):
        return self.answers(self.model.reset())

    def answers(self, done):
        return [
            (d.request.slot, bytes(self.buffers.get(d.request.slot, b"")[: d.written]))
            for d in done
        ]


def test_output_goes_out_in_order_with_its_position():
    guest = Guest(origin=100)
    assert guest.send(b"hello ", slot=1) == [(1, b"")]
    assert guest.send(b"world", slot=2) == [(2, b"")]
    assert guest.model.take_output() == (b"hello world", 100)
    assert guest.send(b"!") == [(1000, b"")]
    assert guest.model.take_output() == (b"!", 111)


def test_input_waits_for_buffers_and_buffers_for_input():
    guest = Guest()
    assert guest.typed(b"abcde") == []
    assert guest.offer(1, 3) == [(1, b"abc")]
    assert guest.offer(2, 8) == [(2, b"de")]
    assert guest.offer(3, 2) == []
    assert guest.offer(4, 2) == []
    assert guest.offer(5, 2) == []
    assert guest.typed(b"xyz") == [(3, b"xy"), (4, b"z")]


def test_the_end_of_input_is_one_control_d_across_all_incarnations():
    guest = Guest()
    guest.typed(b"")
    heir = Guest(guest.model.state())
    heir.typed(b"")
    assert heir.offer(1, 8) == [(1, b"\x04")]
    assert heir.offer(2, 8) == []


def test_input_is_wanted_once_a_buffer_is_offered():
    guest = Guest()
    guest.send(b"x")
    assert not guest.model.listening
    guest.offer(1, 8)
    assert guest.model.listening


def test_input_is_not_wanted_while_much_waits():
    guest = Guest()
    guest.typed(bytes(INPUT_BYTES - 1))
    assert guest.model.hungry
    guest.typed(b"x")
    assert not guest.model.hungry
    guest.offer(1, 1)
    assert guest.model.hungry


def test_a_reset_gives_back_the_buffers_and_keeps_input_and_position():
    guest = Guest(origin=7)
    guest.offer(1, 8)
    guest.offer(2, 8)
    assert guest.reset() == [(1, b""), (2, b"")]
    assert guest.reset() == []
    guest.typed(b"later")
    assert guest.offer(3, 8) == [(3, b"later")]
    guest.send(b"x")
    assert guest.model.take_output() == (b"x", 7)


def test_requests_that_mean_nothing_are_given_back():
    guest = Guest()
    assert guest.offer(1, 0) == [(1, b"")]
    done = guest.model.submit(Request(slot=2, queue=7), NOTHING, memoryview(bytearray(8)))
    assert guest.answers(done) == [(2, b"")]


@pytest.mark.parametrize("state", [b"\2", b"\1" + bytes(20)])
def test_a_state_of_another_kind_is_refused(state):
    with pytest.raises(ValueError, match="not a console's state"):
        ConsoleModel(state, 0)


def test_at_another_driver_output_goes_on_at_its_origin():
    guest = Guest(origin=7)
    guest.send(b"hello")
    guest.model.take_output()
    same = ConsoleModel(guest.model.state(), 50)
    assert same.take_output() == (b"", 12)
    other = ConsoleModel(guest.model.state(), 50, b"another.")
    assert other.take_output() == (b"", 50)
    assert ConsoleModel(other.state(), 60, b"another.").take_output() == (b"", 50)


CHUNKS = st.lists(st.tuples(st.binary(max_size=9), st.sampled_from(["lives", "dies", "loses"])))


@given(st.integers(0, 99), CHUNKS)
def test_every_byte_of_output_keeps_its_position_across_deaths(origin, chunks):
    """`dies`: after the completion. `loses`: the output is out, the completion is lost."""
    sink = bytearray(origin)
    guest = Guest(b"", origin)
    kept = guest.model.state()

    def transmit(data):
        guest.send(data)
        out, position = guest.model.take_output()
        sink[position : position + len(out)] = out

    for data, fate in chunks:
        transmit(data)
        if fate == "loses":
            guest = Guest(kept, len(sink))
            transmit(data)
        kept = guest.model.state()
        if fate == "dies":
            guest = Guest(kept, len(sink))
    assert sink[origin:] == b"".join(data for data, _ in chunks)


@given(st.lists(st.binary(min_size=1, max_size=9) | st.integers(1, 9)), st.data())
def test_input_arrives_once_and_in_order_whenever_the_process_dies(events, data):
    """Bytes are typed input, numbers are buffers. A death keeps the state and the held buffers."""
    guest = Guest()
    held = {}
    taken = b""
    for slot, event in enumerate(events):
        if isinstance(event, bytes):
            answers = guest.typed(event)
        else:
            held[slot] = event
            answers = guest.offer(slot, event)
        for answered, piece in answers:
            del held[answered]
            taken += piece
        if data.draw(st.booleans()):
            guest = Guest(guest.model.state())
            for again, size in held.items():
                assert guest.offer(again, size) == []
    rest = guest.offer(9999, 1000) if not held else []
    taken += b"".join(piece for _, piece in rest)
    assert taken == b"".join(event for event in events if isinstance(event, bytes))
