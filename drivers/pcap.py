"""Capture files as libpcap and Wireshark read them: little-endian, Ethernet, microseconds."""

import mmap
import os
import struct

FILE_HEADER = struct.Struct("<IHHiIII")  # magic, version (2), zone, accuracy, snaplen, link type
RECORD = struct.Struct("<IIII")  # seconds, microseconds, bytes captured, bytes there were
MAGIC, VERSION, ETHERNET = 0xA1B2C3D4, (2, 4), 1
SNAPLEN = 262144  # more than any frame; tcpdump's own

HEADER = FILE_HEADER.pack(MAGIC, *VERSION, 0, 0, SNAPLEN, ETHERNET)


class NotOurs(Exception):
    """A file that is no capture of this kind."""


def record(now_ns: int, frame: bytes | memoryview) -> tuple[bytes, bytes | memoryview]:
    """A frame at a time since 1970, as it stands in a file."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return RECORD.pack(seconds & 0xFFFFFFFF, rest // 1000, len(frame), len(frame)), frame


def end_of_records(fd: int, at: int = 0) -> int:
    """Where the last whole record ends, looking from `at`, where one ended; 0 if not even the
    header is whole. NotOurs if the file is something else.
    """
    size = os.fstat(fd).st_size
    if size < FILE_HEADER.size:
        if not HEADER.startswith(os.pread(fd, size, 0)):
            raise NotOurs
        return 0
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as data:
        if not FILE_HEADER.size <= at <= size:
            if data[: FILE_HEADER.size] != HEADER:
                raise NotOurs
            at = FILE_HEADER.size
        while size - at >= RECORD.size:
            length = RECORD.unpack_from(data, at)[2]
            if length > SNAPLEN:
                raise NotOurs
            if length > size - at - RECORD.size:
                break
            at += RECORD.size + length
    return at
