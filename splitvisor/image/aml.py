"""A small AML encoder: the few terms that a DSDT of fixed devices needs (ACPI 6.5, chapter 20).

Each function gives the bytes of one term; nesting the calls nests the terms.
"""

import struct

_EXT = b"\x5b"


def name(path: str, value: bytes) -> bytes:
    """`Name (path, value)`."""
    return b"\x08" + _path(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    """`Scope (path) { terms }`."""
    return b"\x10" + _with_length(_path(path) + b"".join(terms))


def device(path: str, *terms: bytes) -> bytes:
    """`Device (path) { terms }`."""
    return _EXT + b"\x82" + _with_length(_path(path) + b"".join(terms))


def package(*elements: bytes) -> bytes:
    """`Package () { elements }`, at most 255."""
    return b"\x12" + _with_length(bytes([len(elements)]) + b"".join(elements))


def integer(value: int) -> bytes:
    """The shortest encoding of an unsigned integer below 2**32."""
    if value < 2:
        return bytes([value])
    if value < 1 << 8:
        return b"\x0a" + struct.pack("<B", value)
    if value < 1 << 16:
        return b"\x0b" + struct.pack("<H", value)
    return b"\x0c" + struct.pack("<I", value)


def string(text: str) -> bytes:
    """An ASCII string."""
    return b"\x0d" + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """`EisaId ("PNP0501")`: three letters of five bits and four hexadecimal digits."""
    first, second, third = (ord(letter) - 0x40 for letter in text[:3])
    vendor = first << 10 | second << 5 | third
    return b"\x0c" + struct.pack(">HH", vendor, int(text[3:], 16))


def resources(*descriptors: bytes) -> bytes:
    """`ResourceTemplate () { descriptors }`; a zero checksum counts as right (6.4.2.9)."""
    data = b"".join(descriptors) + b"\x79\x00"
    return b"\x11" + _with_length(integer(len(data)) + data)


def memory_range(base: int, size: int) -> bytes:
    """`Memory32Fixed (ReadWrite, base, size)` (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, size)


def io_range(base: int, count: int) -> bytes:
    """`IO (Decode16, base, base, 1, count)` (6.4.2.5)."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, count)


def interrupt(irq: int) -> bytes:
    """`Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { irq }` (6.4.3.6)."""
    consumer, edge = 1, 2
    return struct.pack("<BHBBI", 0x89, 6, consumer | edge, 1, irq)


def _path(path: str) -> bytes:
    """A name of one segment: four characters, filled up with underscores (20.2.2)."""
    return path.ljust(4, "_").encode("ascii")


def _with_length(body: bytes) -> bytes:
    """PkgLength, which counts itself, and then the body (20.2.4)."""
    if len(body) + 1 < 1 << 6:
        return bytes([len(body) + 1]) + body
    for extra in (1, 2, 3):
        length = len(body) + 1 + extra
        if length < 1 << (4 + 8 * extra):
            lead = extra << 6 | length & 0xF
            return bytes([lead]) + (length >> 4).to_bytes(extra, "little") + body
    raise AssertionError("a DSDT stays below 256 MiB")
