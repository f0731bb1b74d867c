"""Transcripts: what a guest asks, what it is told, what the disk was made to do."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import Ability, DriverError, MediumError, UnsupportedError
from service_os.models.block import BlockModel, sectors
from service_os.models.block_shape import (
    DISCARD_SECTORS,
    DISCARD_SEGMENTS,
    F_RO,
    HEADER,
    S_IOERR,
    S_OK,
    S_UNSUPP,
    T_DISCARD,
    T_FLUSH,
    T_GET_ID,
    T_IN,
    T_OUT,
    T_WRITE_ZEROES,
    ZEROES_SECTORS,
)

SECTORS = 16
UNTOUCHED = 0xEE
BOTH = Ability.DISCARD | Ability.WRITE_ZEROES


class ListedDisk:
    """A disk in a bytearray that lists what was done to it, and fails where it is told to."""

    def __init__(self, readonly=False, fault=None, abilities=Ability.NONE):
        self.abilities = abilities
        self.bytes = bytearray(i // 512 for i in range(SECTORS * 512))
        self.size = len(self.bytes)
        self.readonly = readonly
        self.identity = "serial-0123456789-too-long"
        self.fault = fault
        self.done = []

    def read(self, offset, into):
        self._do("read", offset, len(into))
        into[:] = self.bytes[offset : offset + len(into)]

    def write(self, offset, data):
        self._do("write", offset, len(data))
        self.bytes[offset : offset + len(data)] = data

    def flush(self):
        self._do("flush")

    def discard(self, offset, length):
        self._do("discard", offset, length)

    def write_zeroes(self, offset, length, unmap):
        self._do("write zeroes", offset, length, unmap)
        self.bytes[offset : offset + length] = bytes(length)

    def _do(self, *what):
        self.done.append(what)
        if self.fault:
            raise self.fault


def ask(disk, kind, sector=0, readable=b"", *, writable=1, header=None, seen=None):
    """(written, data, status) of one request."""
    area = bytearray([UNTOUCHED]) * writable
    header = struct.pack("<IIQ", kind, 0, sector) if header is None else header
    model = BlockModel(disk, seen)
    written = model.execute(0, header, memoryview(readable), memoryview(area))
    return written, bytes(area[:-1]), area[-1] if area else None


def test_a_read_gives_the_sectors_and_then_the_status():
    disk = ListedDisk()
    assert ask(disk, T_IN, 3, writable=1025) == (1025, b"\3" * 512 + b"\4" * 512, S_OK)
    assert disk.done == [("read", 1536, 1024)]


def test_a_write_is_stored_and_writes_only_the_status():
    disk = ListedDisk()
    assert ask(disk, T_OUT, 2, b"x" * 512) == (1, b"", S_OK)
    assert disk.done == [("write", 1024, 512)]
    assert ask(disk, T_IN, 2, writable=513) == (513, b"x" * 512, S_OK)


def test_a_flush_flushes():
    disk = ListedDisk()
    assert ask(disk, T_FLUSH, 999) == (1, b"", S_OK)
    assert disk.done == [("flush",)]


def test_the_serial_number_is_cut_to_20_bytes_and_to_the_buffer():
    assert ask(ListedDisk(), T_GET_ID, writable=21) == (21, b"serial-0123456789-to", S_OK)
    assert ask(ListedDisk(), T_GET_ID, writable=7) == (7, b"serial", S_OK)


def test_an_unknown_type_is_unsupported():
    assert ask(ListedDisk(), 0x77, writable=513)[2] == S_UNSUPP


@pytest.mark.parametrize("kind", [T_IN, T_OUT])
@pytest.mark.parametrize(
    ("sector", "length"), [(SECTORS, 512), (SECTORS - 1, 1024), (2**64 - 1, 512), (0, 100)]
)
def test_what_is_not_on_the_disk_is_an_error_and_never_reaches_it(kind, sector, length):
    disk = ListedDisk()
    sizes = {"writable": length + 1} if kind == T_IN else {"readable": bytes(length)}
    written, data, status = ask(disk, kind, sector, **sizes)
    assert (written, status, disk.done) == (len(data) + 1, S_IOERR, [])


def test_a_readonly_disk_says_so_and_is_not_written():
    disk = ListedDisk(readonly=True)
    assert BlockModel(disk).shape.features & F_RO
    assert ask(disk, T_OUT, 0, bytes(512)) == (1, b"", S_IOERR)
    assert disk.done == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (MediumError("bad sector"), S_IOERR),
        (OSError(28, "full"), S_IOERR),
        (UnsupportedError("no flush"), S_UNSUPP),
    ],
)
def test_a_fault_of_the_driver_becomes_a_status(fault, status):
    assert ask(ListedDisk(fault=fault), T_FLUSH) == (1, b"", status)
    assert ask(ListedDisk(fault=fault), T_IN, writable=513) == (
        513,
        bytes([UNTOUCHED]) * 512,
        status,
    )


def test_a_request_without_room_for_a_status_is_not_executed():
    disk = ListedDisk()
    assert ask(disk, T_OUT, 0, bytes(512), writable=0) == (0, b"", None)
    assert ask(disk, T_IN, header=b"short", writable=513)[0] == 0
    assert disk.done == []


def segment(sector, number, flags=0):
    return struct.pack("<QII", sector, number, flags)


def test_what_is_discarded_and_zeroed_is_what_the_segments_say():
    disk = ListedDisk(abilities=BOTH)
    for payload in (segment(1, 2), segment(8, 0), segment(8, 1)):
        assert ask(disk, T_DISCARD, 999, payload) == (1, b"", S_OK)
    assert disk.done == [("discard", 512, 1024), ("discard", 4096, 512)]
    disk.done.clear()
    for flags, unmap in ((0, False), (1, True)):
        assert ask(disk, T_WRITE_ZEROES, 999, segment(3, 2, flags)) == (1, b"", S_OK)
        assert disk.done.pop() == ("write zeroes", 1536, 1024, unmap)
    assert ask(disk, T_IN, 3, writable=1025) == (1025, bytes(1024), S_OK)


WRONG = {
    "nothing": b"",
    "half a segment": segment(0, 1) + bytes(8),
    "beyond the end": segment(SECTORS, 1),
    "the second beyond the end": segment(0, 1) + segment(SECTORS - 1, 2),
    "around": segment(2**64 - 1, 1),
    "too many sectors": segment(0, 2**32 - 1),
    "too many segments": segment(0, 1) * (DISCARD_SEGMENTS + 1),
}


@pytest.mark.parametrize("kind", [T_DISCARD, T_WRITE_ZEROES])
@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG)
def test_of_segments_that_are_wrong_none_is_done(kind, payload):
    disk = ListedDisk(abilities=BOTH)
    assert ask(disk, kind, readable=payload) == (1, b"", S_IOERR)
    assert disk.done == []


@pytest.mark.parametrize(
    ("kind", "limit"), [(T_DISCARD, DISCARD_SECTORS), (T_WRITE_ZEROES, ZEROES_SECTORS)]
)
def test_a_limit_holds_also_where_the_disk_is_larger(kind, limit):
    disk = ListedDisk(abilities=BOTH)
    disk.size = 1 << 40
    assert ask(disk, kind, readable=segment(0, limit)) == (1, b"", S_OK)
    assert ask(disk, kind, readable=segment(0, limit + 1)) == (1, b"", S_IOERR)
    assert len(disk.done) == 1


@pytest.mark.parametrize(
    ("kind", "flags"), [(T_DISCARD, 1), (T_DISCARD, 2), (T_WRITE_ZEROES, 2), (T_WRITE_ZEROES, 3)]
)
def test_flags_that_are_not_known_are_unsupported(kind, flags):
    disk = ListedDisk(abilities=BOTH)
    assert ask(disk, kind, readable=segment(0, 1, flags)) == (1, b"", S_UNSUPP)
    assert disk.done == []


@pytest.mark.parametrize("kind", [T_DISCARD, T_WRITE_ZEROES])
def test_what_is_not_offered_is_unsupported_and_what_is_readonly_an_error(kind):
    disk = ListedDisk()
    assert ask(disk, kind, readable=segment(0, 1)) == (1, b"", S_UNSUPP)
    readonly = ListedDisk(readonly=True, abilities=BOTH)
    assert ask(readonly, kind, readable=segment(0, 1)) == (1, b"", S_IOERR)
    assert disk.done + readonly.done == []


def test_a_guest_that_knows_more_than_the_driver_gets_it_nevertheless():
    seen = BlockModel(ListedDisk(abilities=BOTH)).shape
    disk = ListedDisk()
    assert ask(disk, T_DISCARD, readable=segment(0, 1), seen=seen) == (1, b"", S_OK)
    assert disk.done == []
    assert ask(disk, T_WRITE_ZEROES, readable=segment(3, 2, 1), seen=seen) == (1, b"", S_OK)
    assert disk.done == [("write", 1536, 1024)]
    assert disk.bytes[1536:2560] == bytes(1024)


def test_a_guest_that_knows_less_than_the_driver_does_not_get_more():
    model = BlockModel(ListedDisk(abilities=BOTH), BlockModel(ListedDisk()).shape)
    status = bytearray(1)
    for kind in (T_DISCARD, T_WRITE_ZEROES):
        header = struct.pack("<IIQ", kind, 0, 0)
        model.execute(0, header, memoryview(segment(0, 1)), memoryview(status))
        assert status[0] == S_UNSUPP


def test_a_disk_that_its_guest_could_not_follow_to_is_not_made():
    small, large = ListedDisk(), ListedDisk()
    large.size *= 2
    seen = BlockModel(large).shape
    with pytest.raises(DriverError, match="at least as large"):
        BlockModel(small, seen)
    assert BlockModel(large, BlockModel(small).shape).shape == seen


def test_the_sectors_of_a_request_are_those_it_is_about():
    def of(kind, readable=b"", writable=1):
        return sectors(HEADER.pack(kind, 0, 5), memoryview(readable), writable)

    assert of(T_IN, writable=1025) == [range(5, 7)]
    assert of(T_OUT, bytes(512)) == [range(5, 6)]
    two = segment(1, 2) + segment(8, 4)
    for kind in (T_DISCARD, T_WRITE_ZEROES):
        assert of(kind, two + bytes(7)) == [range(1, 3), range(8, 12)]
    assert not any(of(T_FLUSH) + of(T_GET_ID, writable=21) + sectors(b"short", two, 1))


@given(
    st.binary(max_size=20),
    st.binary(max_size=1200),
    st.integers(0, 1200),
    st.booleans(),
    st.sampled_from([Ability.NONE, BOTH]),
)
def test_no_request_raises_or_reaches_beyond_the_disk(
    header, readable, writable, readonly, abilities
):
    disk = ListedDisk(readonly, abilities=abilities)
    written, _, status = ask(disk, None, readable=readable, writable=writable, header=header)
    executed = len(header) >= 16 and writable > 0
    assert written == (writable if executed else 0)
    assert status in ((S_OK, S_IOERR, S_UNSUPP) if executed else (None, UNTOUCHED))
    assert len(disk.bytes) == disk.size


@given(
    st.sampled_from([T_IN, T_OUT, T_FLUSH, T_GET_ID]),
    st.integers(0, SECTORS + 1),
    st.sampled_from([0, 1, 512, 1024]),
    st.integers(0, 255),
)
def test_a_request_done_twice_leaves_what_it_left_the_first_time(kind, sector, length, fill):
    disk = ListedDisk()
    how = {"writable": length + 1} if kind != T_OUT else {"readable": bytes([fill]) * length}
    first = ask(disk, kind, sector, **how)
    after = bytes(disk.bytes)
    assert ask(disk, kind, sector, **how) == first
    assert disk.bytes == after


@given(
    st.sampled_from([T_DISCARD, T_WRITE_ZEROES]),
    st.lists(
        st.tuples(
            st.integers(0, SECTORS) | st.integers(0, 2**64 - 1),
            st.integers(0, SECTORS) | st.integers(0, 2**32 - 1),
            st.sampled_from([0, 1, 2, 1 << 31]),
        ),
        max_size=DISCARD_SEGMENTS + 1,
    ),
)
def test_segments_are_done_as_a_whole_and_on_the_disk_or_not_at_all(kind, segments):
    disk = ListedDisk(abilities=BOTH)
    _, _, status = ask(disk, kind, readable=b"".join(segment(*one) for one in segments))
    assert len(disk.bytes) == disk.size
    assert len(disk.done) == (sum(number > 0 for _, number, _ in segments) if not status else 0)
    for _, offset, length, *_ in disk.done:
        assert 0 < length <= disk.size - offset
