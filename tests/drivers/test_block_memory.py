from pathlib import Path

import pytest

from drivers import holes
from drivers.block_memory import MemoryBlock
from drivers.interface import Claim, DriverError, Keep, SpecError
from drivers.options import Size
from drivers.registry import check


def options(path, size=4096, name=""):
    return MemoryBlock.Options(size=Size(size), keep=Keep(path), name=name)


def opened(path, size=4096, name=""):
    return MemoryBlock(options(path, size, name))


def content(disk):
    into = bytearray(disk.size)
    disk.read(0, memoryview(into))
    return bytes(into)


def test_the_next_incarnation_finds_what_the_dead_one_wrote(tmp_path):
    dead = opened(tmp_path / "keep")
    dead.write(512, memoryview(b"x" * 512))
    heir = opened(tmp_path / "keep")  # the dead one was never closed
    into = bytearray(1536)
    heir.read(0, memoryview(into))
    assert into == bytes(512) + b"x" * 512 + bytes(512)
    heir.flush()
    for disk in (dead, heir):
        disk.close()


def test_a_new_disk_is_zero_and_takes_no_space(tmp_path):
    disk = opened(tmp_path / "keep", size=64 << 20)
    assert disk.size == 64 << 20
    assert (tmp_path / "keep").stat().st_blocks == 0
    disk.close()


def test_another_size_than_before_is_refused(tmp_path):
    opened(tmp_path / "keep").close()
    with pytest.raises(DriverError, match="already has 4096 bytes, not 8192"):
        opened(tmp_path / "keep", size=8192)


def test_no_place_to_keep_it_is_said():
    with pytest.raises(DriverError, match=r"memory disk /nonexistent/keep cannot be made"):
        opened(Path("/nonexistent/keep"))


def test_a_size_that_no_file_can_have_is_said(tmp_path):
    with pytest.raises(DriverError, match="make it smaller"):
        opened(tmp_path / "keep", size=1 << 62)


@pytest.mark.parametrize("kind", ["memory", "null"])
def test_a_size_that_no_number_of_the_host_holds_is_refused(kind):
    with pytest.raises(SpecError, match="'9999999T': the largest size is"):
        check("block", f"{kind}:size=9999999T")


def test_sizes_that_no_disk_has_are_refused(tmp_path):
    for size in (0, 1000):
        with pytest.raises(ValueError, match="not a positive multiple of 512"):
            opened(tmp_path / "keep", size=size)


def test_two_of_a_stack_are_told_apart_by_name(tmp_path):
    place = tmp_path / "keep.web:disk0"
    one, two = opened(place), opened(place, name="two")
    one.write(0, memoryview(b"x" * 512))
    assert content(two) == bytes(4096)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [place.name, f"{place.name}:two"]
    (claim,), (other,) = (
        MemoryBlock.claims(options(place)),
        MemoryBlock.claims(options(place, name="two")),
    )
    assert claim == Claim(place, exclusive=True)
    assert other.path == tmp_path / f"{place.name}:two"
    words = {MemoryBlock.content(options(place, name=name)) for name in ("", "two")}
    assert len(words) == 2
    for disk in (one, two):
        disk.close()


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "x" * 33])
def test_names_that_are_no_words_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="use at most 32 of"):
        opened(tmp_path / "keep", name=name)


@pytest.mark.parametrize("able", [True, False])
def test_space_is_given_back_and_zeros_are_there(tmp_path, able, monkeypatch):
    if not able:
        monkeypatch.setattr(holes, "punch", lambda *_: False)
    path = tmp_path / "keep"
    disk = opened(path, size=64 << 10)
    disk.write(0, memoryview(b"x" * (64 << 10)))
    disk.write_zeroes(4096, 4096, True)
    disk.write_zeroes(16384, 512, False)
    expected = b"x" * 4096 + bytes(4096) + b"x" * 8192 + bytes(512)
    assert content(disk) == expected.ljust(64 << 10, b"x")
    disk.discard(32 << 10, 16 << 10)
    assert content(disk)[32 << 10 : 48 << 10] == (bytes if able else b"x".__mul__)(16 << 10)
    assert (path.stat().st_blocks * 512 < 64 << 10) == able
    disk.close()
