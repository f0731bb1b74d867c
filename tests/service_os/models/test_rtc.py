"""The clock as a PC's guest reads it: the register values in here are those of the data sheet."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.io_pb2 import Request
from service_os.models.rtc import EARLIEST, LATEST, UPDATE, RtcModel

NOTHING = memoryview(b"")
INDEX, DATA = 0, 1
A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
BCD_24, BINARY_24, BCD_12 = 0x02, 0x06, 0x00
SET = 0x80


class Clock:
    """What time it is, as the test says."""

    def __init__(self, now=0.0):
        self.time = now

    def now(self):
        return self.time


class Guest:
    """One byte at a time at the two ports; `reborn` is what the next incarnation makes of it."""

    def __init__(self, clock, state=b""):
        self.clock = clock
        self.model = RtcModel(state, clock)

    def access(self, offset, size=1, write=False, value=0):
        request = Request(slot=1)
        request.access.offset, request.access.size = offset, size
        request.access.write, request.access.value = write, value
        (done,) = self.model.submit(request, NOTHING, NOTHING)
        return done.value

    def read(self, register):
        self.access(INDEX, write=True, value=register)
        return self.access(DATA)

    def write(self, register, value):
        self.access(INDEX, write=True, value=register)
        self.access(DATA, write=True, value=value)

    def time(self):
        return [self.read(register) for register in (0x32, 9, 8, 7, 4, 2, 0)]

    def set(self, *fields):
        """As Linux does: hold the clock and its divider, write, let go."""
        control, select = self.read(B), self.read(A)
        self.write(B, control | SET)
        self.write(A, select | 0x70)
        for register, value in zip((0x32, 9, 8, 7, 4, 2, 0), fields, strict=True):
            self.write(register, value)
        self.write(B, control)
        self.write(A, select)

    def reborn(self):
        return Guest(self.clock, self.model.state())


def at(*fields):
    return datetime(*fields, tzinfo=UTC).timestamp()


def test_the_time_is_in_bcd_and_24_hours_unless_the_guest_says_otherwise():
    guest = Guest(Clock(at(2031, 12, 9, 17, 58, 49)))
    assert guest.read(B) == BCD_24
    assert guest.time() == [0x20, 0x31, 0x12, 0x09, 0x17, 0x58, 0x49]
    guest.write(B, BINARY_24)
    assert guest.time() == [20, 31, 12, 9, 17, 58, 49]


@pytest.mark.parametrize(
    ("hour", "shown"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)]
)
def test_twelve_hours_have_a_bit_for_the_afternoon_and_can_be_set(hour, shown):
    guest = Guest(Clock(at(2031, 1, 1, hour)))
    guest.write(B, BCD_12)
    assert guest.read(4) == shown
    guest.write(4, 0x05)
    guest.write(4, shown)
    guest.write(B, BINARY_24)
    assert guest.read(4) == hour


@pytest.mark.parametrize(("day", "shown"), [(5, 1), (6, 2), (11, 7)])  # a Sunday, and on
def test_the_week_begins_on_sunday(day, shown):
    assert Guest(Clock(at(2031, 1, day))).read(6) == shown


def test_what_the_guest_sets_is_kept_ticks_on_and_survives_a_death():
    guest = Guest(Clock(at(2031, 1, 1)))
    guest.set(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58)
    assert guest.time() == [0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58]
    guest.clock.time += 0.6  # the first second takes half of one
    assert guest.read(0) == 0x59
    guest = guest.reborn()
    guest.clock.time += 1
    assert guest.time() == [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]


def test_each_register_can_be_set_by_itself_and_keeps_the_fraction():
    guest = Guest(Clock(at(2031, 1, 31, 12) + 0.75))
    guest.write(8, 0x03)
    guest.write(7, 0x29)
    assert guest.time() == [0x20, 0x31, 0x03, 0x29, 0x12, 0x00, 0x00]
    guest.clock.time += 0.25
    assert guest.read(0) == 0x01


def test_while_it_is_set_the_time_stands_still_and_no_update_is_near():
    guest = Guest(Clock(at(2031, 1, 1) + 0.9999))
    assert guest.read(A) & 0x80
    guest.write(B, BCD_24 | SET)
    guest.clock.time += 100
    assert guest.time() == [0x20, 0x31, 0x01, 0x01, 0x00, 0x00, 0x00]
    assert not guest.read(A) & 0x80
    guest = guest.reborn()
    guest.write(0, 0x30)
    guest.write(B, BCD_24)
    assert guest.read(0) == 0x30


def test_an_update_is_announced_just_before_each_second():
    guest = Guest(Clock(at(2031, 1, 1)))
    assert guest.read(A) == 0x26
    guest.clock.time += 1 - 2 * UPDATE / 1e9
    assert guest.read(A) == 0x26
    guest.clock.time += 1.5 * UPDATE / 1e9
    assert guest.read(A) == 0xA6
    guest.clock.time += UPDATE / 1e9
    assert guest.read(A) == 0x26


def test_interrupts_cannot_be_enabled_and_never_came():
    guest = Guest(Clock())
    guest.write(B, 0x7F)
    assert guest.read(B) == 0x0F
    assert guest.read(C) == 0
    assert guest.read(D) == 0x80
    guest.write(C, 0xFF)
    guest.write(D, 0)
    assert [guest.read(C), guest.read(D)] == [0, 0x80]
    assert not guest.model.interrupt


def test_the_rest_is_memory_and_the_nmi_bit_is_no_part_of_the_index():
    guest = Guest(Clock())
    guest.write(0x0E | 0x80, 0x5A)
    guest = guest.reborn()
    assert guest.access(DATA) == 0x5A  # the index is kept as well
    assert guest.read(0x0E) == 0x5A
    assert guest.access(INDEX) == 0xFF


def test_other_sizes_and_ports_mean_nothing():
    guest = Guest(Clock())
    assert guest.access(INDEX, size=2) == 0xFFFF
    assert guest.access(2) == 0xFF
    before = guest.model.state()
    guest.access(DATA, size=4, write=True, value=0)
    assert guest.model.state() == before


@given(st.binary(min_size=128, max_size=128), st.integers(0, 127), st.integers(0, 255))
def test_no_nonsense_of_a_guest_stops_it(registers, index, value):
    guest = Guest(Clock(at(2031, 1, 1)))
    guest.write(B, SET)
    for register, byte in enumerate(registers):
        if register != B:
            guest.write(register, byte)
    guest.write(B, value)
    guest.write(index, value)
    for register in range(128):
        assert 0 <= guest.read(register) <= 0xFF
        guest = guest.reborn()


@given(st.integers(EARLIEST, LATEST), st.sampled_from([BCD_24, BINARY_24, BCD_12]))
def test_every_time_can_be_told_to_another_clock(seconds, mode):
    here, there = Guest(Clock(float(seconds))), Guest(Clock(at(2031, 1, 1)))
    for guest in (here, there):
        guest.write(B, mode)
    there.set(*here.time())
    assert here.model._shown(seconds)[0] == here.read(0)
    assert there.time() == here.time()
    assert there.read(6) == here.read(6)


def test_beyond_what_a_calendar_has_it_stands_still():
    assert Guest(Clock(1e12)).time() == [0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59]


@pytest.mark.parametrize("state", [b"x", bytes(142), b"\2" + bytes(141)])
def test_a_state_of_another_version_is_refused(state):
    with pytest.raises(ValueError, match="not a clock's state of version 1"):
        RtcModel(state, Clock())
