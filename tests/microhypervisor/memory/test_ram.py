"""Guest memory: laid out, sealed, bounded."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.memory.ram import MAX_ADDRESS, PAGE, GuestMemory, RegionKind, lay_out
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM

RAM = RegionKind.RAM


def test_regions_stand_by_address_one_behind_the_other():
    regions = lay_out([(RAM, 0x100000, 0x2000), (RegionKind.ROM, 0, 0x1000)])
    assert [(r.kind, r.base, r.size, r.offset) for r in regions] == [
        (RegionKind.ROM, 0, 0x1000, 0),
        (RAM, 0x100000, 0x2000, 0x1000),
    ]


def test_regions_may_touch():
    assert len(lay_out([(RAM, 0x1000, 0x1000), (RAM, 0, 0x1000)])) == 2


@pytest.mark.parametrize(
    ("regions", "text"),
    [
        ([], "at least one"),
        ([(RAM, 0, 0)], "not made of whole"),
        ([(RAM, 0x800, 0x1000)], "not made of whole"),
        ([(RAM, 0, 0x1800)], "not made of whole"),
        ([(RAM, 0, -PAGE)], "not made of whole"),
        ([(RAM, MAX_ADDRESS, PAGE)], "not made of whole"),
        ([(RAM, 0, MAX_ADDRESS + PAGE)], "not made of whole"),
        ([(RAM, 0, 0x2000), (RegionKind.ROM, 0x1000, 0x1000)], "overlaps"),
        ([(RAM, 0, 0x1000), (RAM, 0, 0x1000)], "overlaps"),
    ],
)
def test_impossible_maps_are_refused(regions, text):
    with pytest.raises(PeerFault, match=text):
        lay_out(regions)


def test_more_than_the_host_can_map_is_the_environments_fault():
    regions = lay_out([(RAM, 0, MAX_ADDRESS)])
    with pytest.raises(EnvironmentFault, match="cannot map 268435456 MiB for guest-big"):
        GuestMemory("big", regions * 4)


def test_nobody_can_shrink_grow_or_unseal_it(memory):
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, memory.size - PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, memory.size + PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)


@given(address=st.integers(0, 1 << 64), length=st.integers(0, 1 << 33))
def test_a_place_is_inside_one_ram_region_or_there_is_none(address, length):
    regions = lay_out([(RAM, 0, 0x3000), (RegionKind.ROM, 0x3000, 0x1000), (RAM, 1 << 32, 0x5000)])
    memory = GuestMemory("test", regions)
    try:
        place = memory.place(address, length)
    finally:
        memory.close()
    inside = [
        r for r in regions if r.kind is RAM and r.base <= address and address + length <= r.end
    ]
    if place is None:
        assert not inside
    else:
        (region,) = inside
        assert place - region.offset == address - region.base
        assert region.offset <= place <= place + length <= region.offset + region.size


def test_places_do_not_cross_from_one_region_to_its_neighbour():
    memory = GuestMemory("test", lay_out([(RAM, 0, 0x1000), (RAM, 0x1000, 0x1000)]))
    assert memory.place(0x800, 0x1000) is None
    memory.close()


def test_loading_reaches_ram_and_rom_but_no_hole(memory):
    memory.load(ROM, b"rom")
    memory.load(HIGH_RAM + 5, b"high")
    rom, high = memory.regions[1], memory.regions[2]
    assert bytes(memory.view[rom.offset : rom.offset + 3]) == b"rom"
    assert bytes(memory.view[high.offset + 5 : high.offset + 9]) == b"high"
    for address in (LOW_RAM - 1, LOW_RAM, ROM - 1, ROM + 0xFFF, 1 << 63):
        with pytest.raises(PeerFault, match=f"segment {address:#x}\\+0x2 is outside guest memory"):
            memory.load(address, b"xx")


def test_rom_is_told_from_holes_and_ram(memory):
    asked = (ROM - 1, ROM, ROM + 0xFFF, ROM + 0x1000, 0)
    assert [memory.in_rom(a) for a in asked] == [False, True, True, False, False]


def test_what_is_released_takes_no_memory_and_reads_as_zeros(memory):
    memory.load(0, b"x" * (16 * PAGE))
    memory.load(ROM, b"rom")
    before = memory.resident()
    assert before >= 17 * PAGE
    assert memory.release(2 * PAGE, 4 * PAGE) == 4 * PAGE
    assert memory.resident() == before - 4 * PAGE
    assert bytes(memory.view[2 * PAGE : 6 * PAGE]) == bytes(4 * PAGE)
    assert bytes(memory.view[PAGE : 2 * PAGE]) == b"x" * PAGE
    assert bytes(memory.view[6 * PAGE : 7 * PAGE]) == b"x" * PAGE


@pytest.mark.parametrize(
    ("address", "length", "released"),
    [
        (100, 3 * PAGE, 2 * PAGE),  # only whole pages
        (100, PAGE, 0),
        (PAGE, 0, 0),
        (ROM, PAGE, 0),
        (LOW_RAM - PAGE, 2 * PAGE, 0),  # into a hole
        (LOW_RAM - PAGE, PAGE, PAGE),
        (1 << 63, PAGE, 0),
        (PAGE, -PAGE, 0),
    ],
)
def test_only_whole_pages_of_ram_are_released(memory, address, length, released):
    memory.load(0, b"x" * LOW_RAM)
    memory.load(ROM, b"rom")
    before = memory.resident()
    assert memory.release(address, length) == released
    assert memory.resident() == before - released


def test_closing_gives_the_descriptor_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        GuestMemory("test", lay_out([(RAM, 0, 0x1000)])).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_lists_guests_beside_the_end_of_one_sees_no_memory_of_it():
    memory = GuestMemory("gone", lay_out([(RAM, 0, 0x2000)]))
    memory.load(0, b"x")
    assert memory.resident() >= PAGE
    memory.close()
    assert memory.resident() == 0
