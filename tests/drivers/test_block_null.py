import time

import pytest

from drivers.block_null import NullBlock
from drivers.interface import PATIENCE, Ability
from drivers.options import Seconds, Size
from drivers.registry import check, content


def opened(size=1 << 30, **options):
    return NullBlock(NullBlock.Options(Size(size), **options))


def test_it_is_found_by_its_name():
    check("block", "null:size=1G,readonly,latency=5ms")
    assert content("block", "null:size=1G") == content("block", "null:size=2G") == "null"


def test_it_reads_as_zeros_whatever_was_written():
    disk = opened()
    assert (disk.size, disk.readonly, disk.identity) == (1 << 30, False, "null")
    assert disk.abilities == Ability.DISCARD | Ability.WRITE_ZEROES
    disk.write(0, memoryview(b"x" * 512))
    disk.write_zeroes(0, 1 << 20, True)
    disk.discard(0, 1 << 20)
    disk.flush()
    into = bytearray(b"y" * ((3 << 20) + 512))
    disk.read(0, memoryview(into))
    assert not any(into)
    disk.close()


def test_readonly_it_can_do_nothing_besides():
    disk = opened(readonly=True)
    assert disk.readonly
    assert disk.abilities == Ability.NONE


def test_each_request_takes_its_time_and_that_is_no_fault():
    disk = opened(latency=Seconds(0.02))
    assert disk.patience == PATIENCE + 0.02
    begun = time.monotonic()
    disk.read(0, memoryview(bytearray(512)))
    disk.write(0, memoryview(bytes(512)))
    disk.flush()
    assert time.monotonic() - begun >= 0.06


def test_sizes_that_no_disk_has_are_refused():
    for size in (0, 1000):
        with pytest.raises(ValueError, match="not a positive multiple of 512"):
            opened(size)
