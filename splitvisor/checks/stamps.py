"""Blocks that say what they are, as the guests blockcheck and storm write them.

Each block of 4096 bytes is

    0    8 bytes "SVBLOCK1"
    8    u64 its own index
    16   u64 the number of the write that put it there
    24   u64 seed
    32   filler: Marsaglia's xorshift (13, 7, 17), begun with a mix of the three above
    4092 u32 CRC-32 of all before

with numbers little-endian; `guests/runtime/stamp.h` is the other side.
"""

import struct
import zlib

BLOCK = 4096
MAGIC = b"SVBLOCK1"
_WORD = (1 << 64) - 1
_STAMP = struct.Struct("<8sQQQ")
_CRC = struct.Struct("<I")
_CRC_OFFSET = BLOCK - _CRC.size
_FILLER = (BLOCK - _STAMP.size) // 8


def mix(x: int) -> int:
    """A bijection on 64 bits in which every bit of the result depends on all of `x`."""
    x = ((x ^ x >> 31) * 0x9E3779B97F4A7C15) & _WORD
    x = ((x ^ x >> 29) * 0xD1342543DE82EF95) & _WORD
    return x ^ x >> 32


def make_block(index: int, sequence: int, seed: int) -> bytes:
    """The whole block that write `sequence` puts at `index`; some 200 us."""
    state = mix(seed ^ mix(index ^ mix(sequence))) | 1
    filler = []
    for _ in range(_FILLER):
        state ^= state << 13 & _WORD
        state ^= state >> 7
        state ^= state << 17 & _WORD
        filler.append(state)
    body = _STAMP.pack(MAGIC, index, sequence, seed) + struct.pack(f"<{_FILLER}Q", *filler)
    body = body[:_CRC_OFFSET]
    return body + _CRC.pack(zlib.crc32(body))


def check_block(data: bytes, index: int, seed: int) -> tuple[str, int]:
    """What is wrong with the block, or nothing; and the number of the write it holds."""
    if len(data) != BLOCK:
        return f"{len(data)} bytes, expected {BLOCK}", 0
    magic, found_index, sequence, found_seed = _STAMP.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _CRC_OFFSET)
    if magic != MAGIC:
        return f"magic {magic!r}, expected {MAGIC!r}", sequence
    if found_index != index:
        return f"index {found_index}, expected {index}", sequence
    if found_seed != seed:
        return f"seed {found_seed}, expected {seed}", sequence
    if crc != zlib.crc32(data[:_CRC_OFFSET]):
        return f"CRC {crc:#x}, expected {zlib.crc32(data[:_CRC_OFFSET]):#x}", sequence
    return "", sequence
