"""ELF files for the builder: made by hand, byte for byte, and by the real tools."""

import shutil
import struct
import subprocess

import pytest

PT_LOAD, PT_NOTE = 1, 4
X86_64, I386, AARCH64 = 62, 3, 183
SOURCE = """
    .section .note.Xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start
    .code32
    .text
    .globl _start
_start:
    mov $42, %al
    out %al, $0xf4
    jmp _start
"""


def pvh_note(entry, kind=18, owner=b"Xen\0", width=4):
    padded = owner.ljust(-(-len(owner) // 4) * 4, b"\0")
    return struct.pack("<III", len(owner), width, kind) + padded + entry.to_bytes(width, "little")


def make_elf(segments, bits=64, machine=X86_64):
    """An ELF executable of (type, address, bytes, size in memory or None)."""
    ehsize, phentsize = (64, 56) if bits == 64 else (52, 32)
    offset = ehsize + phentsize * len(segments)
    headers, contents = b"", b""
    for kind, address, data, memory_size in segments:
        size = len(data) if memory_size is None else memory_size
        at = offset + len(contents)
        if bits == 64:
            headers += struct.pack("<IIQQQQQQ", kind, 5, at, 0, address, len(data), size, 1)
        else:
            headers += struct.pack("<IIIIIIII", kind, at, 0, address, len(data), size, 5, 1)
        contents += data
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    word = "Q" if bits == 64 else "I"
    rest = struct.pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        *(2, machine, 1, 0, ehsize, 0, 0, ehsize, phentsize, len(segments), 0, 0, 0),
    )
    return ident + rest + headers + contents


def make_guest(address=0x100000, code=b"\xf4" * 16, memory_size=None, **settings):
    """A guest of one segment that is entered at its first byte."""
    load = (PT_LOAD, address, code, memory_size)
    return make_elf([load, (PT_NOTE, 0, pvh_note(address), None)], **settings)


@pytest.fixture(scope="session")
def elves():
    """The makers above, and their constants, for tests."""

    class Elves:
        elf = staticmethod(make_elf)
        guest = staticmethod(make_guest)
        note = staticmethod(pvh_note)
        LOAD, NOTE = PT_LOAD, PT_NOTE
        I386, AARCH64 = I386, AARCH64

    return Elves


@pytest.fixture(scope="session", params=["-m64", "-m32"])
def linked_guest(request, tmp_path_factory):
    """A guest made by gcc and the linker, with the layout that they choose."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("linked")
    (folder / "guest.S").write_text(SOURCE)
    options = [
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-Ttext-segment=0x100000",
        "-Wl,--build-id=none",
    ]
    subprocess.run(
        ["gcc", request.param, *options, "-o", "guest.elf", "guest.S"], cwd=folder, check=True
    )
    return folder / "guest.elf"
