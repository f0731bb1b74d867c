"""Guest memory with RAM, a hole, ROM and RAM again."""

import pytest

from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out

LOW_RAM = 4 << 20
ROM = 8 << 20
HIGH_RAM = 1 << 32


@pytest.fixture
def memory():
    memory = GuestMemory(
        "test",
        lay_out(
            [
                (RegionKind.RAM, 0, LOW_RAM),
                (RegionKind.ROM, ROM, 0x1000),
                (RegionKind.RAM, HIGH_RAM, 1 << 20),
            ]
        ),
    )
    yield memory
    memory.close()
