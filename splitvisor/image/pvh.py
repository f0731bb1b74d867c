"""What a PVH guest finds at its first instruction.

The x86/HVM direct boot ABI (Xen, docs/misc/pvh.pandoc; structures in
xen/include/public/arch-x86/hvm/start_info.h): 32-bit protected mode without paging, flat
segments, ebx holding the address of `hvm_start_info`.
"""

import struct
from collections.abc import Sequence

from protos import core_pb2 as core
from splitvisor.image import layout

MAGIC = 0x336EC578
VERSION = 1  # the one with a memory map

_START_INFO = struct.Struct("<IIIIQQQQII")
_MAP_ENTRY = struct.Struct("<QQII")

_CR0_PE = 1
_RFLAGS_RESERVED = 2  # bit 1 is always set


def start_info(map_entries: int, rsdp: int) -> bytes:
    """`hvm_start_info` with no modules, for a map of that many entries; `rsdp` is its address."""
    return _START_INFO.pack(
        MAGIC,
        VERSION,
        0,
        0,
        0,
        layout.COMMAND_LINE,
        rsdp,
        layout.MEMORY_MAP,
        map_entries,
        0,
    )


def memory_map(entries: Sequence[layout.MapEntry]) -> bytes:
    """The table of `hvm_memmap_table_entry` for `entries`."""
    return b"".join(
        _MAP_ENTRY.pack(entry.extent.base, entry.extent.size, entry.kind, 0) for entry in entries
    )


def registers(entry: int) -> core.Registers:
    """vCPU 0 about to execute the guest's instruction at `entry`."""
    return core.Registers(
        rip=entry,
        rbx=layout.START_INFO,
        rflags=_RFLAGS_RESERVED,
        cr0=_CR0_PE,
        code=core.CODE_32,
    )
