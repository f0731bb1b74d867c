from pathlib import Path

import pytest

from drivers.block_memory import MemoryBlock
from drivers.interface import DriverError, Keep
from drivers.options import Size


def opened(path, size=4096):
    return MemoryBlock(MemoryBlock.Options(size=Size(size), keep=Keep(path)))


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


def test_sizes_that_no_disk_has_are_refused(tmp_path):
    for size in (0, 1000):
        with pytest.raises(ValueError, match="not a positive multiple of 512"):
            opened(tmp_path / "keep", size=size)
