"""Transcripts: what a guest asks, what it is told, what the disk was made to do."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import MediumError, UnsupportedError
from service_os.models.block import (
    F_FLUSH,
    F_RO,
    S_IOERR,
    S_OK,
    S_UNSUPP,
    T_FLUSH,
    T_GET_ID,
    T_IN,
    T_OUT,
    BlockModel,
)

SECTORS = 16
UNTOUCHED = 0xEE


class ListedDisk:
    """A disk in a bytearray that lists what was done to it, and fails where it is told to."""

    def __init__(self, readonly=False, fault=None):
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

    def _do(self, *what):
        self.done.append(what)
        if self.fault:
            raise self.fault


def ask(disk, kind, sector=0, readable=b"", *, writable=1, header=None):
    """(written, data, status) of one request."""
    area = bytearray([UNTOUCHED]) * writable
    header = struct.pack("<IIQ", kind, 0, sector) if header is None else header
    model = BlockModel(disk)
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


def test_the_shape_tells_capacity_and_flush():
    shape = BlockModel(ListedDisk()).shape
    capacity, _, _, _, block = struct.unpack("<QII4sI", shape.config_space)
    assert (shape.device_id, capacity, block) == (2, SECTORS, 512)
    assert shape.features & F_FLUSH
    assert not shape.features & F_RO
    assert [(q.max_size, q.header_bytes) for q in shape.queues] == [(256, 16)]


@given(
    st.binary(max_size=20),
    st.binary(max_size=1200),
    st.integers(0, 1200),
    st.booleans(),
)
def test_no_request_raises_or_reaches_beyond_the_disk(header, readable, writable, readonly):
    disk = ListedDisk(readonly)
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
