import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.image import elf
from splitvisor.image.layout import Extent

GUESTS = sorted((Path(__file__).parents[3] / "build" / "guests").glob("*"))


@pytest.mark.parametrize("bits", [64, 32])
def test_segments_and_entry(elves, bits):
    data = elves.guest(0x200000, b"code", memory_size=0x3000, bits=bits)
    image = elf.parse("a", data)
    assert image.entry == 0x200000
    assert [(s.extent, bytes(s.data)) for s in image.segments] == [
        (Extent(0x200000, 0x3000), b"code")
    ]


def test_the_entry_note_is_found_among_others(elves):
    notes = elves.note(7, kind=5) + elves.note(9, owner=b"Linux\0") + elves.note(0x100004, width=8)
    data = elves.elf([(elves.LOAD, 0x100000, b"12345678", None), (elves.NOTE, 0, notes, None)])
    assert elf.parse("a", data).entry == 0x100004


def test_32_bit_x86_is_a_guest(elves):
    assert elf.parse("a", elves.guest(bits=32, machine=elves.I386)).entry == 0x100000


def test_what_the_linker_makes_is_read(linked_guest):
    image = elf.read(linked_guest)
    code = next(s for s in image.segments if s.extent.contains(Extent(image.entry, 4)))
    start = image.entry - code.extent.base
    assert bytes(code.data[start : start + 4]) == b"\xb0\x2a\xe6\xf4"


@pytest.mark.skipif(not GUESTS, reason="the guests are not built")
def test_the_projects_guests_are_read():
    for path in GUESTS:
        assert elf.read(path).segments


CASES = {
    "not ELF": (lambda e: b"#!/bin/sh\n", "is not an ELF file: build a guest"),
    "empty": (lambda e: b"", "is not an ELF file"),
    "header cut": (lambda e: e.guest()[:30], "is damaged"),
    "program headers cut": (lambda e: e.guest()[:100], "is truncated: the program headers end"),
    "segment cut": (lambda e: e.guest()[:-1], "is truncated: a segment ends at byte"),
    "wrong machine": (lambda e: e.guest(machine=e.AARCH64), "is made for AARCH64: build it for"),
    "no note": (
        lambda e: e.elf([(e.LOAD, 0x100000, b"x", None)]),
        r"no PVH entry note \(XEN_ELFNOTE_PHYS32_ENTRY\): link it as a PVH guest, see guests/",
    ),
    "a note of another owner": (
        lambda e: e.elf(
            [(e.LOAD, 0x100000, b"x", None), (e.NOTE, 0, e.note(1, owner=b"GNU\0"), None)]
        ),
        "no PVH entry note",
    ),
    "a note that runs over its end": (
        lambda e: e.elf([(e.LOAD, 0x100000, b"x", None), (e.NOTE, 0, e.note(0x100000)[:-1], None)]),
        "no PVH entry note",
    ),
    "no segments": (lambda e: e.elf([(e.NOTE, 0, e.note(0), None)]), "has no segments to load"),
    "entry elsewhere": (
        lambda e: e.elf([(e.LOAD, 0x100000, b"x", None), (e.NOTE, 0, e.note(0x100001), None)]),
        "names 0x100001, where nothing is loaded",
    ),
    "smaller in memory": (lambda e: e.guest(memory_size=4), "larger in the file than in memory"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_guest_is_told_in_one_line(elves, case):
    make, problem = CASES[case]
    with pytest.raises(UserError, match=problem) as caught:
        elf.parse("bad.elf", make(elves))
    assert str(caught.value).startswith("image bad.elf")
    assert "\n" not in str(caught.value)


def test_a_linux_program_is_no_guest():
    program = shutil.which("true")
    with pytest.raises(UserError, match="no PVH entry note"):
        elf.read(Path(program).resolve())


def accepted(data):
    """Whether `data` is a guest; anything but an image or a UserError fails the test."""
    try:
        image = elf.parse("fuzzed", data)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017  # both outcomes are right; this checks one
        return False
    assert image.segments
    for segment in image.segments:
        assert len(segment.data) <= segment.extent.size
    return True


def test_every_truncation_is_refused(elves):
    data = elves.guest()
    assert accepted(data)
    assert not any(accepted(data[:length]) for length in range(len(data)))


@given(data=st.data())
@settings(max_examples=500)
def test_mutations_are_images_or_users_mistakes(elves, data):
    image = bytearray(elves.guest(bits=data.draw(st.sampled_from([32, 64]))))
    places = st.tuples(st.integers(0, len(image) - 1), st.integers(0, 255))
    for position, value in data.draw(st.lists(places, min_size=1, max_size=12)):
        image[position] = value
    accepted(bytes(image[: data.draw(st.integers(0, len(image)))]))
    accepted(bytes(image))


def test_every_segment_type_of_the_specification_is_survived(elves):
    for kind in (*range(10), 0x6474E550, 0x6474E551, 0x6474E553, 0x70000000, 0xFFFFFFFF):
        extra = (kind, 0, b"\xff" * 40, None)
        note = (elves.NOTE, 0, elves.note(0x100000), None)
        accepted(elves.elf([(elves.LOAD, 0x100000, b"x", None), note, extra]))


@pytest.mark.skipif(shutil.which("objcopy") is None, reason="no binutils")
def test_a_stripped_guest_is_still_a_guest(linked_guest, tmp_path):
    stripped = tmp_path / "stripped.elf"
    subprocess.run(["objcopy", "--strip-all", linked_guest, stripped], check=True)
    assert elf.read(stripped).entry == elf.read(linked_guest).entry
    os.truncate(stripped, 200)
    with pytest.raises(UserError, match="truncated"):
        elf.read(stripped)
