"""The NBD protocol as a client speaks it, without sockets.

A server is not to be trusted more than a network: whatever it says is checked before anything is
sized by it. A conversation is a generator that yields what to send and how many bytes to receive
next, so all of it can be tested from transcripts.

The protocol is https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; numbers are
big-endian. Spoken are the fixed newstyle with NBD_OPT_GO, and simple replies; not spoken are TLS,
structured replies, and what is older.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

Talk = Generator[tuple[bytes, int], bytes, "Export"]

GREETING = struct.Struct(">8s8sH")  # magic, version, handshake flags
OPTION = struct.Struct(">8sII")  # magic, option, length
OPTION_REPLY = struct.Struct(">QIII")  # magic, option, type, length
INFO_EXPORT = struct.Struct(">HQH")  # type, size, transmission flags
INFO_BLOCK_SIZE = struct.Struct(">HIII")  # type, minimum, preferred, maximum
REQUEST = struct.Struct(">IHHQQI")  # magic, flags, command, cookie, offset, length
REPLY = struct.Struct(">IIQ")  # magic, error, cookie

MAGIC = b"NBDMAGIC"
NEWSTYLE = b"IHAVEOPT"
OLDSTYLE = bytes.fromhex("0000420281861253")
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698

F_FIXED_NEWSTYLE = 1 << 0
F_NO_ZEROES = 1 << 1
OPT_GO = 7
REP_ACK = 1
REP_INFO = 3
REP_ERROR = 1 << 31
TYPE_EXPORT = 0
TYPE_BLOCK_SIZE = 3

SECTOR = 512
MAX_NAME = 4096
MAX_OPTION_REPLY = 65536  # strings of the protocol have 4096 bytes at most
MAX_REPLIES = 64
MAX_SIZE = (1 << 63) - SECTOR
MAX_TRANSFER = 32 << 20  # what every server takes that states no limit
MAX_EXTENT = 1 << 31  # of a command without data; the field has 32 bits
_BLOCK = 65536

_REFUSALS = {
    1: "it does not know NBD_OPT_GO: use a server from after 2016",
    2: "its policy forbids it",
    3: "it finds the request wrong",
    4: "it was built without it",
    5: "it wants TLS: allow plain connections, on a socket that only you can reach",
    6: "it has no such export: name one that it has with export=...",
    7: "it is shutting down",
    8: "it wants block sizes to be negotiated otherwise",
    9: "it finds the request too big",
}
_ERRORS = {
    1: "operation not permitted",
    5: "input/output error",
    12: "it has no memory left",
    22: "it finds the request wrong, or the export is read-only",
    28: "no space left: free some room there",
    75: "it finds the request too big",
    95: "it does not do this",
}


class ProtocolError(Exception):
    """The server says what it must not: one line, to follow upon its name."""


class RefusedError(Exception):
    """The server does not serve the export, in its own right: one line with the cure."""


class Command(IntEnum):
    """What is asked for after the handshake."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class CommandFlag(IntFlag):
    """What a command may say besides."""

    NONE = 0
    FUA = 1 << 0  # durable before it is answered
    NO_HOLE = 1 << 1  # zeros, but no space given back


class Transmission(IntFlag):
    """What a server says of an export."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6


class Errno(IntEnum):
    """Answers that are no failure of the medium."""

    NONE = 0
    NOT_SUPPORTED = 95
    SHUTDOWN = 108


@dataclass(frozen=True, slots=True)
class Export:
    """What a server offers; sizes in bytes, all of them checked."""

    size: int
    flags: Transmission
    block_size: int = SECTOR  # what it likes best, a power of two from 512 to 65536
    max_transfer: int = MAX_TRANSFER  # of one read or write


def handshake(export: str) -> Talk:
    """From the server's first byte to the first request. RefusedError, ProtocolError."""
    name = export.encode()
    magic, version, flags = GREETING.unpack((yield b"", GREETING.size))
    if magic != MAGIC:
        raise ProtocolError("it does not speak NBD: is this the right address?")
    if version == OLDSTYLE or (version == NEWSTYLE and not flags & F_FIXED_NEWSTYLE):
        raise ProtocolError("it speaks an old style of NBD: use a server with fixed newstyle")
    if version != NEWSTYLE:
        raise ProtocolError("its greeting is garbage")
    hello = struct.pack(">I", F_FIXED_NEWSTYLE | (flags & F_NO_ZEROES))
    wanted = struct.pack(f">I{len(name)}sHH", len(name), name, 1, TYPE_BLOCK_SIZE)
    send = hello + OPTION.pack(NEWSTYLE, OPT_GO, len(wanted)) + wanted
    infos: dict[int, bytes] = {}
    for _ in range(MAX_REPLIES):
        magic, option, kind, length = OPTION_REPLY.unpack((yield send, OPTION_REPLY.size))
        send = b""
        if magic != OPTION_REPLY_MAGIC or option != OPT_GO:
            raise ProtocolError("its answer to an option is garbage")
        if length > MAX_OPTION_REPLY:
            raise ProtocolError(f"its answer to an option has {length} bytes")
        data = (yield b"", length) if length else b""
        if kind & REP_ERROR:
            raise RefusedError(_refusal(kind, data))
        if kind == REP_ACK:
            return _export(infos)
        if kind != REP_INFO or length < 2:
            raise ProtocolError(f"its answer to an option has the type {kind}, {length} bytes")
        infos[int.from_bytes(data[:2], "big")] = data
    raise ProtocolError("its answers to one option do not end")


def request(
    command: Command, flags: CommandFlag, cookie: int, offset: int = 0, length: int = 0
) -> bytes:
    """A request; the data of a write follows upon it."""
    return REQUEST.pack(REQUEST_MAGIC, flags, command, cookie, offset, length)


def reply(data: bytes | memoryview, cookie: int) -> int:
    """The error in the answer to the request with that cookie, 0 if it went well. The data of a
    read that went well follows upon it.
    """
    magic, error, found = REPLY.unpack(data)
    if magic != REPLY_MAGIC:
        raise ProtocolError("its answer to a request is garbage")
    if found != cookie:
        raise ProtocolError("it answers what was not asked")
    return int(error)


def error_text(error: int) -> str:
    """What an error in an answer means."""
    return _ERRORS.get(error, f"error {error}")


def _export(infos: dict[int, bytes]) -> Export:
    if len(data := infos.get(TYPE_EXPORT, b"")) != INFO_EXPORT.size:
        raise ProtocolError("it does not say what the export is")
    _, size, flags = INFO_EXPORT.unpack(data)
    if size == 0:
        raise RefusedError("the export is empty: give it a size")
    if size > MAX_SIZE:
        raise ProtocolError(f"the export has {size} bytes, which no disk has")
    if size % SECTOR:
        whole = size + SECTOR - size % SECTOR
        raise RefusedError(
            f"the export has {size} bytes, not a multiple of {SECTOR}: round it up to {whole}"
        )
    if TYPE_BLOCK_SIZE not in infos:
        return Export(size, Transmission(flags))
    return Export(size, Transmission(flags), *_block_sizes(infos[TYPE_BLOCK_SIZE], size))


def _block_sizes(data: bytes, size: int) -> tuple[int, int]:
    """The preferred block and the largest transfer."""
    if len(data) != INFO_BLOCK_SIZE.size:
        raise ProtocolError("its block sizes are garbage")
    _, minimum, preferred, maximum = INFO_BLOCK_SIZE.unpack(data)
    if minimum.bit_count() != 1 or minimum > _BLOCK or preferred.bit_count() != 1:
        raise ProtocolError(f"its block sizes are {minimum}, {preferred} and {maximum}")
    if minimum > SECTOR:
        raise RefusedError(
            f"the export takes nothing smaller than {minimum} bytes: "
            "put something before it that does, such as nbdkit --filter=blocksize"
        )
    largest = min(maximum, MAX_TRANSFER) // SECTOR * SECTOR
    if not largest:
        raise ProtocolError(f"its block sizes are {minimum}, {preferred} and {maximum}")
    return min(max(preferred, SECTOR), _BLOCK), largest


def _refusal(kind: int, data: bytes) -> str:
    """What the error means and what the server says, as one line of printable text."""
    known = _REFUSALS.get(kind & ~REP_ERROR, f"error {kind & ~REP_ERROR}")
    text = data[:MAX_NAME].decode("utf-8", "replace")
    said = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
    return f"{known} ({said})" if said else known
