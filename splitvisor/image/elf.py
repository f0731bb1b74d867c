"""A PVH ELF file: which bytes go where, and where to begin.

Any x86 ELF, 32 or 64 bit, that carries the note XEN_ELFNOTE_PHYS32_ENTRY is a guest: the
project's own, a Linux vmlinux, or one made for QEMU's microvm, Firecracker or Cloud Hypervisor.
Segments are loaded at their physical addresses; what a segment has beyond its bytes in the file
is zero, as all guest memory is at first.

pyelftools reads the headers. The notes are taken apart here, since a broken size in a note
must end in one line for the user, not somewhere inside a library.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from splitvisor.errors import UserError
from splitvisor.image.file import read_file
from splitvisor.image.layout import Extent

XEN_ELFNOTE_PHYS32_ENTRY = 18
MAX_SEGMENTS = 1024  # linkers make ten; a header full of garbage claims 65535

_NOTE = struct.Struct("<III")
_MACHINES = ("EM_X86_64", "EM_386")


@dataclass(frozen=True, slots=True)
class Segment:
    """`data` at guest-physical `extent.base`; the rest of `extent` is zero."""

    extent: Extent
    data: memoryview


@dataclass(frozen=True, slots=True)
class Image:
    """A guest image: its file's name, its segments in file order, and its 32-bit entry point."""

    name: str
    segments: tuple[Segment, ...]
    entry: int


def read(path: Path) -> Image:
    """The image in the file at `path`; UserError if there is none."""
    return parse(str(path), read_file("image", path))


def parse(name: str, data: bytes) -> Image:
    """The image in `data`; UserError, naming `name`, if it is not a PVH guest."""
    if not data.startswith(b"\x7fELF"):
        raise UserError(f"image {name} is not an ELF file: build a guest as in guests/")
    headers = _program_headers(name, data)
    view = memoryview(data)
    segments: list[Segment] = []
    entry: int | None = None
    for header in headers:
        kind, file_size, memory_size = header["p_type"], header["p_filesz"], header["p_memsz"]
        if kind not in ("PT_LOAD", "PT_NOTE"):
            continue
        start = header["p_offset"]
        if start + file_size > len(data):
            raise UserError(
                f"image {name} is truncated: a segment ends at byte {start + file_size} and the "
                f"file at {len(data)}: copy or build it again"
            )
        content = view[start : start + file_size]
        if kind == "PT_NOTE":
            entry = entry if entry is not None else _find_entry(content)
        elif memory_size < file_size:
            _damaged(name, "a segment is larger in the file than in memory")
        elif memory_size:
            segments.append(Segment(Extent(header["p_paddr"], memory_size), content))
    if not segments:
        raise UserError(f"image {name} has no segments to load: link it as an executable")
    if entry is None:
        raise UserError(
            f"image {name}: no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY): "
            "link it as a PVH guest, see guests/"
        )
    if not any(segment.extent.contains(Extent(entry, 1)) for segment in segments):
        raise UserError(
            f"image {name}: the PVH entry note names {entry:#x}, where nothing is loaded: "
            "the note must hold the physical address of the entry point"
        )
    return Image(name, tuple(segments), entry)


def _program_headers(name: str, data: bytes) -> list[Any]:
    try:
        elf = ELFFile(io.BytesIO(data))
        machine, count = elf["e_machine"], elf["e_phnum"]
        if machine not in _MACHINES or not elf.little_endian:
            raise UserError(
                f"image {name} is made for {str(machine).removeprefix('EM_')}: "
                "build it for x86-64 (or 32-bit x86)"
            )
        if count > MAX_SEGMENTS:
            _damaged(name, f"it claims {count} segments")
        end = elf["e_phoff"] + count * elf["e_phentsize"]
        if end > len(data):
            raise UserError(
                f"image {name} is truncated: the program headers end at byte {end} and the file "
                f"at {len(data)}: copy or build it again"
            )
        return [segment.header for segment in elf.iter_segments()]
    except (ELFError, OverflowError) as error:
        _damaged(name, str(error) or "the headers make no sense")


def _find_entry(notes: memoryview) -> int | None:
    for owner, kind, description in _notes(notes):
        if owner == b"Xen" and kind == XEN_ELFNOTE_PHYS32_ENTRY and len(description) in (4, 8):
            return int.from_bytes(description, "little")
    return None


def _notes(data: memoryview) -> Iterator[tuple[bytes, int, bytes]]:
    """(owner, type, description) of each note, up to the first that runs over the end."""
    position = 0
    while position + _NOTE.size <= len(data):
        name_size, description_size, kind = _NOTE.unpack_from(data, position)
        name = position + _NOTE.size
        description = name + _round_up(name_size)
        if description + description_size > len(data):
            return
        owner = bytes(data[name : name + name_size]).rstrip(b"\0")
        yield owner, kind, bytes(data[description : description + description_size])
        position = description + _round_up(description_size)


def _round_up(size: int) -> int:
    return (size + 3) & ~3


def _damaged(name: str, why: str) -> NoReturn:
    raise UserError(f"image {name} is damaged ({why}): copy or build it again")
