import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.io_pb2 import Request
from service_os.models.uart import INPUT_BYTES, UartModel

NOTHING = memoryview(b"")
RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7


class Guest:
    """Plays a guest's driver at the eight ports."""

    def __init__(self, state=b"", origin=0):
        self.model = UartModel(state, origin)

    def access(self, offset, size=1, value=None):
        request = Request(slot=1)
        request.access.offset, request.access.size = offset, size
        request.access.write, request.access.value = value is not None, value or 0
        (done,) = self.model.submit(request, NOTHING, NOTHING)
        assert (done.request, done.written) == (request, 0)
        return done.value

    def read(self, offset):
        return self.access(offset)

    def write(self, offset, value):
        assert self.access(offset, value=value) == 0

    def pulses(self):
        """Whether the interrupt line was pulsed since the last question."""
        pulsed, self.model.interrupt = self.model.interrupt, False
        return pulsed


def test_output_leaves_at_once_with_its_position():
    guest = Guest(origin=40)
    for byte in b"hi":
        assert guest.read(LSR) == 0x60
        guest.write(THR, byte)
    assert guest.model.take_output() == (b"hi", 40)
    guest.write(THR, ord("!"))
    assert guest.model.take_output() == (b"!", 42)


def test_polled_input():
    guest = Guest()
    assert not guest.model.listening
    for _ in range(4):
        guest.read(LSR)
    assert guest.model.listening
    guest.model.receive(b"ok")
    assert guest.read(LSR) == 0x61
    assert guest.read(RBR) == ord("o")
    assert guest.read(RBR) == ord("k")
    assert guest.read(LSR) == 0x60
    assert guest.read(RBR) == 0


def test_who_polls_only_between_bytes_is_not_listening():
    guest = Guest()
    for byte in range(100):
        guest.read(LSR)
        guest.write(THR, byte)
    assert not guest.model.listening


def test_input_by_interrupt():
    guest = Guest()
    guest.model.receive(b"a")
    assert not guest.pulses()
    guest.write(IER, 1)
    assert guest.model.listening
    assert guest.pulses()  # it was there before the guest asked
    assert guest.read(IIR) == 0x04
    assert guest.read(RBR) == ord("a")
    assert guest.read(IIR) == 0x01
    guest.model.receive(b"b")
    assert guest.pulses()
    assert guest.read(RBR) == ord("b")
    assert not guest.pulses()


def test_the_transmitter_asks_for_more_whenever_it_is_empty():
    guest = Guest()
    guest.write(IER, 2)
    assert guest.pulses()
    assert guest.read(IIR) == 0x02
    assert guest.read(IIR) == 0x01  # reading it acknowledged it
    guest.write(THR, 65)
    assert guest.pulses()
    guest.write(IER, 0)
    assert guest.read(IIR) == 0x01
    guest.write(THR, 66)
    assert not guest.pulses()


def test_input_is_more_urgent_than_output():
    guest = Guest()
    guest.write(IER, 3)
    guest.model.receive(b"a")
    assert guest.read(IIR) == 0x04
    guest.read(RBR)
    assert guest.read(IIR) == 0x02


def test_a_driver_of_linux_finds_a_16550a():
    """The questions of 8250_port.c's autoconfig, and the answers by which it knows a 16550A."""
    guest = Guest()
    guest.write(IER, 0)
    assert guest.read(IER) & 0x0F == 0
    guest.write(IER, 0x0F)
    assert guest.read(IER) & 0x0F == 0x0F
    guest.write(IER, 0)
    guest.write(MCR, 0x10 | 0x0A)  # loop, OUT2, RTS
    assert guest.read(MSR) & 0xF0 == 0x90  # DCD, CTS
    guest.write(MCR, 0)
    guest.write(LCR, 0xBF)
    guest.write(FCR, 0)
    guest.write(LCR, 0)
    guest.write(FCR, 1)
    assert guest.read(IIR) >> 6 == 3
    for lcr in (0x80, 0xBF):  # enhanced feature registers would read as zero here
        guest.write(LCR, lcr)
        assert guest.read(FCR) != 0
    guest.write(LCR, 0)
    guest.write(FCR, 0x21)
    assert guest.read(IIR) >> 5 == 6  # no 64-byte FIFO: not a 16750
    guest.write(IER, 0x40)
    assert guest.read(IER) & 0x40 == 0  # no sleep mode: not an XScale
    for value in (0x5A, 0xA5):
        guest.write(SCR, value)
        assert guest.read(SCR) == value


def test_the_divisor_latch_hides_data_and_interrupts():
    guest = Guest()
    guest.model.receive(b"a")
    guest.write(LCR, 0x83)
    guest.write(DLL, 0x12)
    guest.write(DLM, 0x34)
    assert (guest.read(DLL), guest.read(DLM)) == (0x12, 0x34)
    guest.write(LCR, 0x03)
    assert guest.read(LCR) == 0x03
    assert guest.read(IER) == 0
    assert guest.read(RBR) == ord("a")
    assert guest.model.take_output() == (b"", 0)


def test_looped_back_bytes_come_in_and_do_not_go_out():
    guest = Guest()
    guest.write(MCR, 0x1F)
    guest.write(THR, 0x55)
    assert guest.read(RBR) == 0x55
    assert guest.read(MSR) == 0xF0
    assert guest.model.take_output() == (b"", 0)
    guest.write(MCR, 0)
    assert guest.read(MSR) == 0xB0


def test_looped_back_bytes_overrun_a_fifo_of_sixteen():
    guest = Guest()
    guest.write(MCR, 0x10)
    guest.write(IER, 4)
    for byte in range(16):
        guest.write(THR, byte)
    assert not guest.pulses()
    guest.write(THR, 99)
    assert guest.pulses()
    guest = Guest(guest.model.state())
    assert guest.read(IIR) & 0x0F == 6
    assert guest.read(LSR) == 0x63
    assert guest.read(IIR) & 0x0F == 1
    assert guest.read(LSR) == 0x61
    assert [guest.read(RBR) for _ in range(17)] == [*range(16), 0]
    for byte in range(17):
        guest.write(THR, byte)
    guest.write(IER, 0)
    assert guest.pulses()
    guest.write(IER, 4)
    assert guest.pulses()


@pytest.mark.parametrize(
    ("offset", "size", "value"), [(0, 2, 0xFFFF), (0, 4, 0xFFFFFFFF), (8, 1, 0xFF), (0, 0, 0)]
)
def test_accesses_that_mean_nothing_give_all_ones_and_change_nothing(offset, size, value):
    guest = Guest()
    before = guest.model.state()
    guest.access(offset, size, 0x41)
    assert guest.access(offset, size) == value
    assert guest.model.state() == before
    assert guest.model.take_output() == (b"", 0)


def test_input_is_bounded_and_its_end_is_one_control_d():
    guest = Guest()
    guest.model.receive(b"")
    guest.model.receive(b"")
    assert guest.read(RBR) == 4
    assert guest.read(LSR) == 0x60
    guest.model.receive(bytes(INPUT_BYTES))
    assert not guest.model.hungry
    guest.read(RBR)
    assert guest.model.hungry


def test_an_heir_that_was_listening_listens():
    guest = Guest()
    guest.write(IER, 1)
    assert Guest(guest.model.state()).model.listening


@pytest.mark.parametrize("state", [b"\2", b"\1" + bytes(40)])
def test_a_state_of_another_kind_is_refused(state):
    with pytest.raises(ValueError, match="not a UART's state"):
        UartModel(state, 0)


def test_at_another_driver_output_goes_on_at_its_origin():
    guest = Guest(origin=7)
    guest.write(THR, 65)
    guest.model.take_output()
    same = UartModel(guest.model.state(), 50)
    assert same.take_output() == (b"", 8)
    other = UartModel(guest.model.state(), 50, b"another.")
    assert other.take_output() == (b"", 50)
    assert UartModel(other.state(), 60, b"another.").take_output() == (b"", 50)


ACCESSES = st.lists(
    st.binary(max_size=5)
    | st.tuples(
        st.integers(0, 9) | st.integers(0, 2**32 - 1),
        st.sampled_from([1, 1, 1, 2, 4]) | st.integers(0, 2**32 - 1),
        st.none() | st.integers(0, 255) | st.integers(0, 2**32 - 1),
    ),
    max_size=60,
)


@given(ACCESSES, st.data())
def test_any_accesses_are_answered_and_deaths_between_them_do_not_show(events, data):
    steady, dying = Guest(origin=5), Guest(origin=5)
    for event in events:
        if isinstance(event, bytes):
            steady.model.receive(event)
            dying.model.receive(event)
        else:
            answer = steady.access(*event)
            assert answer >> 8 * min(event[1], 4) == 0
            assert dying.access(*event) == answer
            assert dying.model.take_output() == steady.model.take_output()
            assert dying.pulses() == steady.pulses() or isinstance(event, bytes)
        steady.pulses(), dying.pulses()
        if data.draw(st.booleans()):
            dying = Guest(dying.model.state(), origin=12345)
        assert dying.model.state() == steady.model.state()
