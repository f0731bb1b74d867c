from protos import core_pb2 as core
from splitvisor.image import pvh
from splitvisor.image.layout import Extent, MapEntry


def words(text):
    return bytes.fromhex(text)


def test_start_info_as_the_abi_has_it():
    assert pvh.start_info(5, 0xE0000) == words(
        "78c56e33 01000000 00000000 00000000"  # magic, version 1, flags, modules
        "00000000 00000000"  # module list
        "00200900 00000000"  # command line
        "00000e00 00000000"  # RSDP
        "00100900 00000000"  # memory map
        "05000000 00000000"  # its entries, reserved
    )


def test_memory_map_as_the_abi_has_it():
    entries = [MapEntry(Extent(0, 0x90000), 1), MapEntry(Extent(1 << 32, 0x1000), 2)]
    assert pvh.memory_map(entries) == words(
        "00000000 00000000 00000900 00000000 01000000 00000000"
        "00000000 01000000 00100000 00000000 02000000 00000000"
    )


def test_the_processor_begins_in_protected_mode_without_paging():
    assert pvh.registers(0x100000) == core.Registers(
        rip=0x100000, rbx=0x90000, rflags=2, cr0=1, code=core.CODE_32
    )
