from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.errors import UserError
from splitvisor.image import layout
from splitvisor.image.layout import Extent, check_segments, memory_map, ram

PAGE = 4096
MIB = 1 << 20
GIB = 1 << 30
memories = st.integers(2 * MIB // PAGE, 16 * GIB // PAGE).map(lambda pages: pages * PAGE)


def test_ram_has_one_hole_below_four_gigabytes():
    assert ram(64 * MIB) == [Extent(0, 64 * MIB)]
    assert ram(3 * GIB) == [Extent(0, 3 * GIB)]
    assert ram(5 * GIB) == [Extent(0, 3 * GIB), Extent(4 * GIB, 2 * GIB)]


def test_the_map_of_a_small_guest():
    assert [(str(e.extent), e.kind) for e in memory_map(64 * MIB, rom_size=PAGE)] == [
        ("0x0..0x8ffff", layout.MAP_RAM),
        ("0x90000..0xdffff", layout.MAP_RESERVED),
        ("0xe0000..0xeffff", layout.MAP_ACPI),
        ("0xf0000..0xfffff", layout.MAP_RESERVED),
        ("0x100000..0x3ffffff", layout.MAP_RAM),
        ("0xc0000000..0xc0000fff", layout.MAP_RESERVED),
    ]


@given(memories, st.integers(0, layout.ROM_LIMIT // PAGE).map(lambda pages: pages * PAGE))
def test_the_map_is_sorted_covers_ram_and_never_overlaps(memory, rom_size):
    entries = [entry.extent for entry in memory_map(memory, rom_size)]
    assert all(one.end <= other.base for one, other in pairwise(entries))
    assert all(extent.size > 0 and extent.base % PAGE == 0 for extent in entries)
    assert sum(extent.size for extent in entries) == memory + rom_size
    assert sum(extent.size for extent in ram(memory)) == memory


@given(memories)
def test_nothing_of_the_machine_overlaps(memory):
    devices = [
        Extent(layout.VIRTIO_BASE + i * layout.VIRTIO_STRIDE, layout.VIRTIO_STRIDE)
        for i in range(len(layout.VIRTIO_IRQS))
    ]
    apics = [Extent(layout.IO_APIC, PAGE), Extent(layout.LOCAL_APIC, PAGE)]
    rom = Extent(layout.ROM_BASE, layout.ROM_LIMIT)
    for one, other in combinations([*ram(memory), *devices, *apics, rom], 2):
        assert not one.overlaps(other)


def test_interrupts_are_io_apic_pins_that_no_pc_device_has():
    assert set(layout.VIRTIO_IRQS) == set(range(5, 24)) - {8}


def test_segments_in_ram_are_fine_also_in_the_strips_without_contents():
    check_segments("a", [Extent(0xFF000, PAGE), Extent(MIB, MIB), Extent(PAGE, PAGE)], 4 * MIB)
    check_segments("a", [Extent(4 * GIB, PAGE)], 4 * GIB)


@pytest.mark.parametrize(
    ("segments", "memory", "problem"),
    [
        (
            [Extent(MIB, 3 * MIB), Extent(8 * MIB, MIB + 1)],
            4 * MIB,
            "segment 0x800000..0x900000 is outside the guest's 4M of memory: give it at least 10M",
        ),
        ([Extent(3 * GIB, PAGE)], 4 * GIB, "segment 0xc0000000..0xc0000fff is where a guest"),
        ([Extent(4 * GIB, PAGE)], 64 * MIB, "has no RAM: link it below 0xc0000000"),
        ([Extent(0x8F000, 2 * PAGE)], 4 * MIB, "covers the start info at 0x90000..0x9ffff"),
        ([Extent(0xEFFFF, 1)], 4 * MIB, "covers the ACPI tables at 0xe0000..0xeffff"),
        (
            [Extent(MIB, 2 * PAGE), Extent(MIB + PAGE, 1)],
            4 * MIB,
            "segments 0x100000..0x101fff and 0x101000..0x101000 overlap",
        ),
    ],
)
def test_segments_where_they_cannot_be(segments, memory, problem):
    with pytest.raises(UserError) as caught:
        check_segments("big.elf", segments, memory)
    assert str(caught.value).startswith("image big.elf: segment")
    assert problem in str(caught.value)


@given(st.integers(MIB, 2 * GIB), st.integers(1, GIB))
def test_the_memory_that_an_error_asks_for_is_enough(base, size):
    segment = [Extent(base, size)]
    with pytest.raises(UserError) as caught:
        check_segments("a", segment, base + size - 1)
    asked = str(caught.value).rpartition(" ")[2]
    check_segments("a", segment, int(asked.removesuffix("M")) * MIB)
