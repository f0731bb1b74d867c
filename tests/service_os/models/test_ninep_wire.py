import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_os.models import ninep_wire as wire
from service_os.models.ninep_wire import Call, Malformed, T, parse


def test_requests_as_linux_sends_them():
    version = bytes.fromhex("15000000 64 ffff 00000200 0800 395032303030 2e4c")
    assert parse(memoryview(version)) == Call(T.VERSION, 0xFFFF, (0x20000, b"9P2000.L"))
    attach = bytes.fromhex("1b000000 68 0000 00000000 ffffffff 0400 726f6f74 0000 00000000")
    assert parse(memoryview(attach)) == Call(T.ATTACH, 0, (0, 0xFFFFFFFF, b"root", b"", 0))
    walk = bytes.fromhex("17000000 6e 0100 00000000 01000000 0200 0100 61 0100 62")
    assert parse(memoryview(walk)) == Call(T.WALK, 1, (0, 1, (b"a", b"b")))
    write = bytes.fromhex("1a000000 76 0200 01000000 0001000000000000 03000000 616263 ff")
    kind, tag, (fid, offset, data) = parse(memoryview(write))
    assert (kind, tag, fid, offset, bytes(data)) == (T.WRITE, 2, 1, 256, b"abc")
    fsync = bytes.fromhex("0f000000 32 0300 05000000 01000000")
    assert parse(memoryview(fsync)) == Call(T.FSYNC, 3, (5, 1))


def test_what_is_no_request_keeps_its_tag_for_the_error():
    with pytest.raises(Malformed, match="a message of 3 bytes"):
        parse(memoryview(b"abc"))
    for size in (0, 6, 12):
        with pytest.raises(Malformed, match="announced") as raised:
            parse(memoryview(struct.pack("<IBHI", size, T.CLUNK, 77, 1)))
        assert raised.value.tag == 77
    with pytest.raises(Malformed, match="beyond the end"):
        parse(memoryview(bytes.fromhex("0d000000 34 0000 00000000 0500")))
    many = struct.pack("<IBHIIH", 17, T.WALK, 5, 0, 1, 17)
    with pytest.raises(Malformed, match="17 names"):
        parse(memoryview(many))
    assert parse(memoryview(struct.pack("<IBH", 7, 99, 5))) == Call(99, 5, ())


@given(st.sampled_from([*T, 0, 99, 255]), st.binary(max_size=64), st.integers(-3, 3))
def test_whatever_comes_is_parsed_or_malformed(kind, body, off):
    data = struct.pack("<IBH", max(0, 7 + len(body) + off), kind, 3) + body
    try:
        call = parse(memoryview(data))
    except Malformed as malformed:
        assert malformed.tag == 3  # noqa: PT017
    else:
        assert (call.kind, call.tag) == (kind, 3)


def test_replies():
    assert wire.error(7, errno.ENOENT) == bytes.fromhex("0b000000 07 0700 02000000")
    assert wire.reply(T.CLUNK, 9, b"") == bytes.fromhex("07000000 79 0900")


def test_attributes_of_times_before_1970(tmp_path):
    path = tmp_path / "old"
    path.touch()
    os.utime(path, ns=(-1, -1_500_000_000))
    body = struct.unpack("<QBIQIII15Q", wire.attributes(path.stat(), 0, 0))
    assert body[12:16] == (2**64 - 1, 999_999_999, 2**64 - 2, 500_000_000)
