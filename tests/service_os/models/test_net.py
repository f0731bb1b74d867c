import re
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.ethernet import MAX_FRAME
from drivers.interface import DriverError
from protos.io_pb2 import Request
from service_os.models.net import (
    CONFIG,
    F_MAC,
    F_MRG_RXBUF,
    F_MTU,
    F_STATUS,
    HEADER,
    RECEIVEQ,
    TRANSMITQ,
    NetModel,
    refusal,
)

NOTHING = memoryview(b"")
MAC = bytes.fromhex("525400123456")
PLAIN = bytes(HEADER.size)
FRAME = bytes(range(64))


class Cable:
    """A driver as the model sees it."""

    def __init__(self, mac=MAC, mtu=1500, link=True):
        self.mac, self.mtu, self.link = mac, mtu, link


class Guest:
    """Plays the guest's side: numbers its requests and owns its buffers."""

    def __init__(self, mergeable=False, **cable):
        self.cable = Cable(**cable)
        self.model = NetModel(self.cable)
        self.model.activate(F_MRG_RXBUF if mergeable else 0)
        self.inbox = deque()
        self.buffers = {}

    def send(self, data, header=PLAIN, slot=1000):
        """The frames that go out, once it is completed."""
        self.model.submit(
            Request(slot=slot, queue=TRANSMITQ, header=header), memoryview(data), NOTHING
        )
        frames = [bytes(frame) for frame in self.model.take_frames()]
        assert [(d.request.slot, d.written) for d in self.model.take_done()] == [(slot, 0)]
        return frames

    def offer(self, slot, size):
        self.buffers[slot] = bytearray(b"\xa5" * size)
        self.model.submit(
            Request(slot=slot, queue=RECEIVEQ), NOTHING, memoryview(self.buffers[slot])
        )
        return self.answers()

    def arrive(self, *frames):
        self.inbox.extend(frames)
        return self.answers()

    def answers(self):
        self.model.receive(self.inbox)
        return [
            (d.request.slot, bytes(self.buffers[d.request.slot][: d.written]))
            for d in self.model.take_done()
        ]


def whole(frame, buffers=1):
    """What the guest finds, in as many buffers."""
    return HEADER.pack(0, 0, 0, 0, 0, 0, buffers) + frame


def test_what_the_guest_finds():
    shape = NetModel(Cable(mtu=9000)).shape
    assert shape.device_id == 1
    assert shape.features == F_MAC | F_MTU | F_MRG_RXBUF | F_STATUS
    assert CONFIG.unpack(shape.config_space) == (MAC, 1, 1, 9000)
    receive, transmit = shape.queues
    assert (receive.parks, receive.header_bytes, receive.ordered) == (True, 0, True)
    assert (transmit.parks, transmit.header_bytes, transmit.ordered) == (False, 12, True)


def test_a_card_without_an_address_says_so_and_the_link_shows():
    model = NetModel(Cable(mac=None, link=False))
    assert not model.shape.features & F_MAC
    assert CONFIG.unpack(model.shape.config_space) == (bytes(6), 0, 1, 1500)


OTHER = bytes.fromhex("525400654321")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({}, {}, ""),
        ({"mac": None}, {"mac": None}, ""),
        ({"mtu": 9000}, {"mtu": 0}, ""),
        ({}, {"link": False}, ""),
        ({}, {"mac": OTHER}, "not by the address 52:54:00:65:43:21: say mac=52:54:00:12:34:56, or"),
        ({}, {"mac": None}, "not by an address that it made up: say mac=52:54:00:12:34:56, or"),
        ({"mac": None}, {}, "not by the address 52:54:00:12:34:56: leave mac out, or restart"),
        (
            {},
            {"mtu": 1400},
            "an MTU of 1500 bytes, not of 1400: say mtu=1500, or restart the guest",
        ),
        (
            {},
            {"mtu": 9000},
            "an MTU of 1500 bytes, not of 9000: say mtu=1500, or restart the guest",
        ),
    ],
)
def test_a_guest_keeps_the_address_and_the_mtu_that_it_knows(before, after, why):
    seen = NetModel(Cable(**before)).shape
    said = refusal(seen, Cable(**after))
    assert (why in said) if why else said == ""
    if why:
        with pytest.raises(DriverError, match=re.escape(said)):
            NetModel(Cable(**after), seen)
    else:
        NetModel(Cable(**after), seen)


def test_a_guest_that_knows_no_card_like_it_is_refused():
    seen = NetModel(Cable()).shape
    assert "virtio type 2, which is no network card" in refusal(replace(seen, device_id=2), Cable())
    assert "another version" in refusal(replace(seen, config_space=b"short"), Cable())


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"mac": "52:54:00:12:34:56"}, "mac is '52:54:00:12:34:56': it must be 6 bytes, or None"),
        ({"mac": MAC[1:]}, r"mac is b'T\\x00\\x124V': it must be 6 bytes, or None"),
        ({"mtu": "x"}, "mtu is 'x': it must be a number of bytes up to 65535"),
        ({"mtu": 65536}, "mtu is 65536: it must be a number of bytes up to 65535"),
        ({"mtu": -1}, "mtu is -1: it must be a number of bytes up to 65535"),
    ],
)
def test_an_attribute_that_no_card_has_is_named(said, problem):
    with pytest.raises(DriverError, match=f"^the driver's {problem}$"):
        NetModel(Cable(**said))


def test_frames_go_out_without_the_header():
    guest = Guest()
    assert guest.send(FRAME) == [FRAME]
    assert guest.send(bytes(MAX_FRAME)) == [bytes(MAX_FRAME)]
    assert not guest.model.dropped


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", 0),
        (PLAIN[:11], 0),
        (PLAIN, 0),
        (PLAIN, 13),
        (PLAIN, MAX_FRAME + 1),
        (b"\x01" + PLAIN[1:], 64),
        (b"\x00\x01" + PLAIN[2:], 64),
        (b"\x00\x80" + PLAIN[2:], 64),
    ],
)
def test_what_is_no_plain_frame_is_completed_and_counted_but_not_sent(header, length):
    guest = Guest()
    assert guest.send(bytes(length), header) == []
    assert guest.model.dropped.total() == 1
    assert guest.send(FRAME) == [FRAME]


def test_unknown_flags_are_ignored_as_the_specification_wants():
    assert Guest().send(FRAME, b"\xfe" + PLAIN[1:]) == [FRAME]


def test_frames_wait_for_buffers_and_buffers_for_frames():
    guest = Guest()
    assert not guest.model.listening
    assert guest.arrive(FRAME, FRAME[::-1]) == []
    assert guest.offer(1, 2048) == [(1, whole(FRAME))]
    assert guest.model.listening
    assert guest.offer(2, 2048) == [(2, whole(FRAME[::-1]))]
    assert guest.offer(3, 2048) == []
    assert guest.offer(4, 2048) == []
    assert guest.arrive(b"a" * 14, b"b" * 14) == [(3, whole(b"a" * 14)), (4, whole(b"b" * 14))]


def test_nothing_behind_the_frame_is_written():
    guest = Guest()
    guest.offer(1, 100)
    guest.arrive(FRAME)
    assert guest.buffers[1][12 + 64 :] == b"\xa5" * 24


def test_a_frame_that_is_too_long_is_dropped_and_the_buffer_used_for_the_next():
    guest = Guest()
    guest.offer(1, 12 + 63)
    assert guest.arrive(FRAME, FRAME[:63]) == [(1, whole(FRAME[:63]))]
    assert guest.model.dropped.total() == 1


def test_mergeable_buffers_take_a_frame_in_parts():
    guest = Guest(mergeable=True)
    for slot in range(4):
        guest.offer(slot, 30)
    answers = guest.arrive(FRAME)
    assert answers == [(0, whole(FRAME, 3)[:30]), (1, FRAME[18:48]), (2, FRAME[48:])]
    assert guest.arrive(FRAME[:18]) == [(3, whole(FRAME[:18]))]


def test_mergeable_buffers_that_are_not_enough_are_not_waited_for():
    guest = Guest(mergeable=True)
    guest.offer(1, 40)
    guest.offer(2, 30)
    assert guest.arrive(FRAME) == []
    assert guest.model.dropped.total() == 1
    assert guest.offer(3, 6) == []
    assert [slot for slot, _ in guest.arrive(FRAME)] == [1, 2, 3]


def test_useless_buffers_come_back_unused_in_their_turn():
    guest = Guest()
    assert guest.offer(1, 0) == [(1, b"")]
    assert guest.offer(2, 11) == [(2, b"")]
    assert guest.offer(3, 100) == []
    assert guest.offer(4, 0) == []
    assert guest.arrive(FRAME) == [(3, whole(FRAME)), (4, b"")]


def test_a_reset_gives_everything_back_and_forgets_what_was_agreed():
    guest = Guest(mergeable=True)
    guest.offer(1, 30)
    guest.offer(2, 30)
    guest.model.reset()
    assert guest.answers() == [(1, b""), (2, b"")]
    assert not guest.model.listening
    guest.offer(3, 30)
    guest.offer(4, 60)
    assert guest.arrive(FRAME) == []
    assert guest.model.dropped.total() == 1


@given(
    st.booleans(),
    st.lists(st.one_of(st.integers(0, 200), st.binary(min_size=14, max_size=300)), max_size=40),
)
@example(True, [29, 0, 1, 26, bytes(18), bytes(14)])
def test_every_frame_arrives_whole_and_in_order_or_is_counted(mergeable, steps):
    guest = Guest(mergeable)
    frames, got = [], []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            got += guest.offer(number, step)
        else:
            frames.append(step)
            got += guest.arrive(step)
    assert [slot for slot, _ in got] == sorted(slot for slot, _ in got)
    arrived = iter(data for _, data in got)
    found = []
    for data in arrived:
        if data:  # else of no use, and unused; within a frame even an empty one counts as a part
            count = HEADER.unpack_from(data)[6]
            found.append(data[12:] + b"".join(next(arrived) for _ in range(count - 1)))
    assert len(found) + guest.model.dropped.total() + len(guest.inbox) == len(frames)
    rest = iter(frames)
    assert all(frame in rest for frame in found)
