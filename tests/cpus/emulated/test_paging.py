"""Writes from outside: in RAM only, and whole or not at all."""

import pytest

from cpus.emulated.paging import AddressSpace, NotMapped
from microhypervisor.memory.ram import PAGE, DirtyPages, GuestMemory, RegionKind, lay_out

LOW_END, ROM, ROM_END = 4 * PAGE, 8 * PAGE, 9 * PAGE  # from 9 on there is RAM again
FRAME = bytes(range(1, 41))


@pytest.fixture
def space():
    """Without paging: linear addresses are physical ones."""
    regions = [
        (RegionKind.RAM, 0, LOW_END),
        (RegionKind.ROM, ROM, PAGE),
        (RegionKind.RAM, ROM_END, PAGE),
    ]
    memory = GuestMemory("test", lay_out(regions))
    yield AddressSpace(memory, DirtyPages(memory.size // PAGE), 0, 0, 0, long_mode=False)
    memory.close()


@pytest.mark.parametrize("at", [LOW_END - 8, ROM - 8, ROM, ROM_END - 8])
def test_what_does_not_go_into_ram_as_a_whole_is_not_written(space, at):
    with pytest.raises(NotMapped):
        space.write(at, FRAME)
    assert not any(space.memory.view)
    assert not any(space.dirty.take())


@pytest.mark.parametrize(("at", "pages"), [(PAGE, 0b10), (2 * PAGE - 8, 0b110)])
def test_what_is_written_is_noted(space, at, pages):
    space.write(at, FRAME)
    assert space.fetch(at, 8) == FRAME[:8]
    assert space.fetch(2 * PAGE, 32) == (FRAME[8:] if at > PAGE else bytes(32))
    assert space.dirty.take()[0] == pages
