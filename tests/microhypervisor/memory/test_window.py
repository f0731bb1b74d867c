"""The grant window, seen from both sides: the core's object and the peer's own mapping."""

import mmap
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microhypervisor.errors import EnvironmentFault
from microhypervisor.memory.window import ALIGNMENT, GrantWindow, writable_start

STRIDE = 8192
SLOTS = 4


@pytest.fixture
def window():
    window = GrantWindow("g/disk", SLOTS, STRIDE)
    yield window
    window.close()


@pytest.fixture
def peer(window):
    """What a service OS maps."""
    with mmap.mmap(os.dup(window.fd), window.size) as view:
        yield view


def test_payload_is_gathered_at_the_start_and_the_writable_area_is_clear(window, peer):
    ram = memoryview(bytes(range(256)))
    peer[:] = b"\xee" * len(peer)
    window.offer(2, ram, [(10, 3), (100, 2)], 70)
    at = 2 * STRIDE
    assert peer[at : at + 5] == bytes([10, 11, 12, 100, 101])
    assert peer[at + 64 : at + 134] == bytes(70)
    assert peer[at + 134 : at + 140] == b"\xee" * 6  # nothing more was touched
    assert peer[at - 8 : at] == b"\xee" * 8


def test_what_the_peer_writes_comes_back_and_the_rest_is_zeros(window, peer):
    window.offer(1, memoryview(b"x" * 100), [(0, 65)], 16)
    at = STRIDE + 128
    peer[at : at + 4] = b"done"
    assert bytes(window.written(1, 65, 16)) == b"done" + bytes(12)


@pytest.mark.parametrize(
    ("readable", "start"), [(0, 0), (1, 64), (63, 64), (64, 64), (65, 128), (4096, 4096)]
)
def test_the_writable_area_begins_at_the_next_cache_line(readable, start):
    assert writable_start(readable) == start


@pytest.mark.parametrize(
    ("readable", "writable", "fits"),
    [
        (0, 0, True),
        (0, STRIDE, True),
        (0, STRIDE + 1, False),
        (STRIDE, 0, True),
        (STRIDE + 1, 0, False),
        (1, STRIDE - 64, True),
        (1, STRIDE - 63, False),
        (STRIDE - 64, 64, True),
        (STRIDE - 63, 64, False),
    ],
)
def test_fits_is_exact(window, readable, writable, fits):
    assert window.fits(readable, writable) is fits


@settings(max_examples=60, deadline=None)
@given(
    offers=st.lists(
        st.tuples(
            st.integers(0, SLOTS - 1),
            st.lists(st.integers(0, 3000), max_size=4),
            st.integers(0, STRIDE),
        ),
        max_size=12,
    )
)
def test_slots_never_touch_each_other_and_stale_bytes_never_show(offers):
    window = GrantWindow("property", SLOTS, STRIDE)
    peer = mmap.mmap(window.fd, window.size)
    ram = memoryview(b"\x77" * STRIDE)
    model = bytearray(window.size)
    try:
        for slot, parts, writable in offers:
            readable = sum(parts)
            if not window.fits(readable, writable):
                continue
            window.offer(slot, ram, [(0, part) for part in parts], writable)
            at, line = slot * STRIDE, writable_start(readable)
            model[at : at + readable] = b"\x77" * readable
            model[at + line : at + line + writable] = bytes(writable)
            assert peer[:] == model
            assert bytes(window.written(slot, readable, writable)) == bytes(writable)
            # the peer scribbles over all that is the slot's
            peer[at : at + STRIDE] = model[at : at + STRIDE] = b"\xdd" * STRIDE
    finally:
        peer.close()
        window.close()


def test_a_large_writable_area_is_cleared_to_its_last_byte():
    size = (2 << 20) + 3
    window = GrantWindow("large", 1, 4 << 20)
    with mmap.mmap(window.fd, window.size) as peer:
        peer[:] = b"\xee" * len(peer)
        window.offer(0, memoryview(b""), [], size)
        assert peer[: size + 1] == bytes(size) + b"\xee"
    window.close()


@pytest.mark.parametrize("size", [0, STRIDE, STRIDE * SLOTS - 1, STRIDE * SLOTS + 1])
def test_a_peer_cannot_resize_it_under_the_core(window, size):
    fd = os.dup(window.fd)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, size)
    os.close(fd)


def test_the_writable_area_is_aligned_for_whatever_is_read():
    assert all(writable_start(n) % ALIGNMENT == 0 <= writable_start(n) - n < 64 for n in range(999))


def test_more_than_the_host_can_map_is_the_environments_fault():
    with pytest.raises(EnvironmentFault, match="cannot map 1073741824 MiB for grant-g/disk"):
        GrantWindow("g/disk", 1 << 20, 1 << 30)


def test_closing_gives_the_descriptor_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        GrantWindow("g/disk", SLOTS, STRIDE).close()
    assert len(os.listdir("/proc/self/fd")) == before
