import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.io_pb2 import Request
from service_os.models.base import BadMessage
from service_os.window import Window

STRIDE, SLOTS = 256, 4


def test_the_writable_area_follows_the_readable_one_at_a_multiple_of_64():
    window = Window(memoryview(bytearray(range(256)) * SLOTS), STRIDE)
    for readable, start in ((0, 0), (1, 64), (64, 64), (65, 128)):
        areas = window.areas(Request(slot=2, readable=readable, writable=100))
        assert [bytes(area) for area in areas] == [
            bytes(range(readable)),
            bytes(range(start, start + 100)),
        ]


def test_an_inlined_request_has_areas_of_its_own():
    window = Window(memoryview(b""), 0)
    areas = window.areas(Request(slot=9, inlined=True, readable=3, payload=b"abc", writable=2))
    assert [bytes(area) for area in areas] == [b"abc", b"\0\0"]


@given(st.integers(0, SLOTS + 1), st.integers(0, STRIDE + 65), st.integers(0, STRIDE + 65))
def test_no_area_reaches_into_another_slot(slot, readable, writable):
    owner = bytearray(i // STRIDE for i in range(STRIDE * SLOTS))
    window = Window(memoryview(owner), STRIDE)
    fits = slot < SLOTS and (readable + 63) // 64 * 64 + writable <= STRIDE
    try:
        areas = window.areas(Request(slot=slot, readable=readable, writable=writable))
    except BadMessage:
        assert not fits
    else:
        assert fits or not (readable or writable)
        assert [bytes(area) for area in areas] == [bytes([slot]) * n for n in (readable, writable)]


def test_without_a_window_payload_must_be_inlined():
    with pytest.raises(BadMessage, match="slot 0 does not fit"):
        Window(memoryview(b""), 0).areas(Request(slot=0, writable=1))
