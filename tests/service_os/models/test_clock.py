"""virtio-rtc, byte by byte as the specification has it: numbers in here are its own."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import MediumError
from service_os.models.clock import ClockModel

OK, EOPNOTSUPP, ENODEV, EINVAL, EIO = 0, 2, 3, 4, 5
READ, READ_CROSS, CFG, CLOCK_CAP, CROSS_CAP = 1, 2, 0x1000, 0x1001, 0x1002
ARM_VCT, X86_TSC, INVALID = 0, 1, 0xFF
KINDS = (READ, READ_CROSS, CFG, CLOCK_CAP, CROSS_CAP)


class Clock:
    """What time it is, as the test says."""

    def __init__(self, now=0.0):
        self.time = now

    def now(self):
        if self.time is None:
            raise MediumError("no time")
        return self.time


def request(kind, clock=0, counter=0, reserved=b"", more=b""):
    head = struct.pack("<H6s", kind, reserved)
    return head if kind == CFG else head + struct.pack("<HB5s", clock, counter, more)


def ask(text, room=16, now=0.0):
    """What the model writes upon a request, of which it gets the first 16 bytes as a header."""
    shape = ClockModel.shape
    area = bytearray(room)
    header, rest = text[: shape.queues[0].header_bytes], text[shape.queues[0].header_bytes :]
    model = ClockModel(Clock(now))
    written = model.execute(0, header, memoryview(rest), memoryview(area))
    assert not any(area[written:])
    return bytes(area[:written])


def refused(status, room=8):
    return bytes([status]).ljust(8, b"\0")[:room]


def test_it_is_a_device_17_with_one_queue_and_no_alarm():
    shape = ClockModel.shape
    assert (shape.device_id, shape.features, shape.config_space) == (17, 0, b"")
    (queue,) = shape.queues
    assert queue.ordered
    assert not queue.parks


def test_it_has_one_clock_of_utc_that_may_be_smeared_and_no_cross_timestamps():
    assert ask(request(CFG)) == bytes.fromhex("00 00000000000000 0100 000000000000")
    assert ask(request(CLOCK_CAP)) == bytes.fromhex("00 00000000000000 04 00 00 0000000000")
    for counter in (ARM_VCT, X86_TSC):
        assert ask(request(CROSS_CAP, counter=counter)) == bytes(16)
        assert ask(request(READ_CROSS, counter=counter), 24) == refused(EOPNOTSUPP)


@pytest.mark.parametrize(
    ("now", "nanoseconds"),
    [
        (0.0, 0),
        (0.25, 250_000_000),
        (1893456000.5, 1_893_456_000_500_000_000),
        (18446744073.0, 18_446_744_073_000_000_000),
    ],
)
def test_a_reading_is_in_nanoseconds_since_1970(now, nanoseconds):
    assert ask(request(READ), now=now) == bytes(8) + struct.pack("<Q", nanoseconds)


@pytest.mark.parametrize("now", [-1e-9, -3600.0, 18446744074.0, 1e300, None])
def test_a_time_that_cannot_be_told_is_an_error_of_the_device(now):
    assert ask(request(READ), now=now) == refused(EIO)
    assert ask(request(CLOCK_CAP), now=now)[0] == OK


@given(st.floats(0, 1e10), st.floats(0, 1e10))
def test_readings_are_in_the_order_of_the_times(one, other):
    readings = [ask(request(READ), now=now)[8:] for now in sorted((one, other))]
    earlier, later = (int.from_bytes(reading, "little") for reading in readings)
    assert earlier <= later


@pytest.mark.parametrize("kind", [READ, READ_CROSS, CLOCK_CAP, CROSS_CAP])
@pytest.mark.parametrize("clock", [1, 2, 0x100, 0xFFFF])
def test_there_is_no_other_clock(kind, clock):
    assert ask(request(kind, clock), 24) == refused(ENODEV)


@pytest.mark.parametrize("kind", [READ_CROSS, CROSS_CAP])
def test_counters_that_nobody_knows_are_not_supported_and_what_is_none_is_invalid(kind):
    for counter in (2, 0x7F, 0xEF, 0xF0, 0xFE):
        assert ask(request(kind, counter=counter), 24) == refused(EOPNOTSUPP)
    assert ask(request(kind, counter=INVALID), 24) == refused(EINVAL)


@pytest.mark.parametrize("kind", [0, 3, 0x1003, 0x1004, 0x1005, 0x2000, 0xFFFF])
@pytest.mark.parametrize("length", [8, 16, 4096])
def test_requests_of_other_kinds_alarms_too_are_not_supported(kind, length):
    assert ask(request(kind).ljust(length, b"\xff")[:length]) == refused(EOPNOTSUPP)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_is_cut_off_is_invalid_and_one_with_more_behind_it_is_not(kind):
    whole = request(kind)
    for length in range(len(whole)):
        assert ask(whole[:length], 24) == refused(EINVAL)
    for more in (1, 8, 4096):
        assert ask(whole + b"\xff" * more, 24) == ask(whole, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_without_room_for_all_of_it_is_invalid_and_more_room_is_left_alone(kind):
    needed = 24 if kind == READ_CROSS else 16
    for room in range(needed):
        assert ask(request(kind), room) == refused(EINVAL, min(room, 8))
    assert ask(request(kind), 1 << 20) == ask(request(kind), needed)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_reserved_are_zero(kind):
    assert ask(request(kind, reserved=b"\0\0\0\0\0\1"), 24) == refused(EINVAL)
    if kind != CFG:
        assert ask(request(kind, more=b"\1"), 24)[0] in (EINVAL, EOPNOTSUPP)
    if kind in (READ, CLOCK_CAP):
        assert ask(request(kind, counter=X86_TSC)) == refused(EINVAL)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_no_nonsense_of_a_guest_stops_it(text, room):
    answer = ask(text, room)
    assert len(answer) == min(room, 8) or answer[0] == OK
    assert not any(answer[1:8])
