import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.nbd_protocol import (
    Command,
    CommandFlag,
    Export,
    ProtocolError,
    RefusedError,
    Transmission,
    handshake,
    reply,
    request,
)

GREETING = b"NBDMAGICIHAVEOPT" + b"\x00\x03"
SAID = bytes.fromhex("0000000349484156454f5054000000070000000b")
SAID += bytes.fromhex("00000003") + b"dsk" + bytes.fromhex("00010003")
ACK = bytes.fromhex("0003e889045565a9000000070000000100000000")


def info(data):
    return bytes.fromhex("0003e889045565a90000000700000003") + struct.pack(">I", len(data)) + data


def export(size, flags=0x1):
    return info(struct.pack(">HQH", 0, size, flags))


def blocks(minimum, preferred, maximum):
    return info(struct.pack(">HIII", 3, minimum, preferred, maximum))


def refusal(number, text=b""):
    return bytes.fromhex("0003e889045565a900000007") + struct.pack(
        f">II{len(text)}s", number | 1 << 31, len(text), text
    )


def talk(server, most=1 << 17):
    """The client's words, its conclusion, and what is left of these bytes from the server."""
    conversation, said = handshake("dsk"), b""
    try:
        send, wanted = next(conversation)
        while True:
            said += send
            assert 0 < wanted <= most
            if len(server) < wanted:
                return said, None, server
            answer, server = server[:wanted], server[wanted:]
            send, wanted = conversation.send(answer)
    except StopIteration as end:
        return said, end.value, server


def test_a_handshake():
    said, found, rest = talk(GREETING + export(1 << 20, 0x6D) + blocks(1, 4096, 32 << 20) + ACK)
    assert (said, rest) == (SAID, b"")
    assert found.size == 1 << 20
    assert found.flags == 0x6D
    assert Transmission.SEND_WRITE_ZEROES in found.flags
    assert (found.block_size, found.max_transfer) == (4096, 32 << 20)


def test_a_server_that_says_no_more_than_it_must():
    _, found, _ = talk(b"NBDMAGICIHAVEOPT\x00\x01" + export(512) + ACK)
    assert found == Export(512, Transmission.HAS_FLAGS, 512, 32 << 20)


def test_what_is_not_asked_for_is_passed_over():
    more = info(b"\x00\x01name") + info(b"\x00\x02description") + info(b"\xff\xff")
    assert talk(GREETING + more + export(512) + more + ACK)[1].size == 512


def test_limits_are_within_what_a_disk_may_say():
    assert talk(GREETING + export(512) + blocks(512, 1 << 20, 0xFFFFFFFF) + ACK)[1] == Export(
        512, Transmission.HAS_FLAGS, 65536, 32 << 20
    )
    assert talk(GREETING + export(512) + blocks(1, 1, 1000) + ACK)[1].max_transfer == 512


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (b"HTTP/1.1 400 Bad Request", "it does not speak NBD: is this the right address"),
        (b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\x00\x00", "it speaks an old style of NBD"),
        (b"NBDMAGICIHAVEOPT\x00\x02", "it speaks an old style of NBD"),
        (b"NBDMAGICihaveopt\x00\x01", "its greeting is garbage"),
        (GREETING + bytes(20), "its answer to an option is garbage"),
        (GREETING + ACK[:8] + b"\x00\x00\x00\x03" + ACK[12:], "its answer to an option is garbage"),
        (GREETING + info(b"")[:16] + b"\xff" * 4, "its answer to an option has 4294967295 bytes"),
        (GREETING + info(b"x"), "its answer to an option has the type 3, 1 bytes"),
        (GREETING + ACK[:12] + b"\x00\x00\x00\x02" + ACK[16:], "has the type 2, 0 bytes"),
        (GREETING + ACK, "it does not say what the export is"),
        (GREETING + info(b"\x00\x00\x01") + ACK, "it does not say what the export is"),
        (GREETING + info(b"\x00\x07??") * 64, "its answers to one option do not end"),
        (GREETING + export((1 << 64) - 512) + ACK, "18446744073709551104 bytes, which no disk has"),
        (GREETING + export(512) + info(b"\x00\x03\x00") + ACK, "its block sizes are garbage"),
        (GREETING + export(512) + blocks(0, 512, 512) + ACK, "block sizes are 0, 512 and 512"),
        (GREETING + export(512) + blocks(1, 700, 512) + ACK, "block sizes are 1, 700 and 512"),
        (GREETING + export(512) + blocks(1, 512, 511) + ACK, "block sizes are 1, 512 and 511"),
        (GREETING + export(512) + blocks(1 << 17, 1 << 17, 1 << 17) + ACK, "are 131072, 131072"),
    ],
)
def test_what_a_server_must_not_say(server, why):
    with pytest.raises(ProtocolError, match=why):
        talk(server)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (refusal(6), "it has no such export: name one that it has with export=..."),
        (refusal(5), "it wants TLS: allow plain connections"),
        (refusal(1), "it does not know NBD_OPT_GO: use a server from after 2016"),
        (refusal(2, b"not\x1b[2Jyou\r\n\xff"), "its policy forbids it \\(not \\[2Jyou �\\)$"),
        (refusal(77), "error 77"),
        (export(0) + ACK, "the export is empty: give it a size"),
        (export(700) + ACK, "the export has 700 bytes, not a multiple of 512: round it up to 1024"),
        (export(8192) + blocks(4096, 4096, 4096) + ACK, "nothing smaller than 4096 bytes"),
    ],
)
def test_why_a_server_does_not_serve(server, why):
    with pytest.raises(RefusedError, match=why):
        talk(GREETING + server)


def test_a_request_and_its_answer():
    assert request(Command.WRITE, CommandFlag.FUA, 7, 0x1000, 512) == bytes.fromhex(
        "25609513000100010000000000000007000000000000100000000200"
    )
    assert reply(bytes.fromhex("67446698000000000000000000000007"), 7) == 0
    assert reply(bytes.fromhex("674466980000001c0000000000000007"), 7) == 28
    with pytest.raises(ProtocolError, match="it answers what was not asked"):
        reply(bytes.fromhex("67446698000000000000000000000006"), 7)
    with pytest.raises(ProtocolError, match="its answer to a request is garbage"):
        reply(bytes(16), 7)


pieces = st.one_of(
    st.binary(max_size=40),
    st.just(ACK),
    st.builds(export, st.integers(0, (1 << 64) - 1), st.integers(0, 65535)),
    st.builds(blocks, *[st.integers(0, (1 << 32) - 1)] * 3),
    st.builds(refusal, st.integers(0, 100), st.binary(max_size=40)),
    st.builds(info, st.binary(max_size=20)),
)


@given(st.booleans(), st.lists(pieces, max_size=8))
def test_no_server_can_make_it_fail_otherwise(greets, said):
    why = None
    try:
        _, found, _ = talk((GREETING if greets else b"") + b"".join(said))
    except (ProtocolError, RefusedError) as error:
        found, why = None, str(error)
    assert found or why is None or why.isprintable()
    if found:
        assert found.size > 0
        assert found.size % 512 == 0
        assert found.block_size in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
        assert 512 <= found.max_transfer <= 32 << 20


@given(st.binary(min_size=16, max_size=16))
def test_no_answer_is_taken_for_another(data):
    try:
        error = reply(data, 1)
    except ProtocolError:
        return
    assert data == bytes.fromhex("67446698") + error.to_bytes(4, "big") + (1).to_bytes(8, "big")
