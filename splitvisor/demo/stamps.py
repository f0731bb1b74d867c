"""Looking at a disk image from outside: is every block what blockcheck wrote last?

The guest proves that it got its data back; only somebody who opens the file without any part of
splitvisor in between can say that the data is really there. Each 4096-byte block is

    0    8 bytes "SVBLOCK1"
    8    u64 its own index
    16   u64 the number of the write that put it there, counted over all passes
    24   u64 seed
    32   filler
    4092 u32 CRC-32 of all before

with numbers little-endian. Pass p (from 1) writes each block once, under the numbers from
(p - 1) * blocks on, in an order that only the guest knows: so the numbers found must be exactly
those of the last pass, each once.
"""

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 4096
MAGIC = b"SVBLOCK1"
_STAMP = struct.Struct("<8sQQQ")
_CRC = struct.Struct("<I")
_CRC_OFFSET = BLOCK - _CRC.size
_PROBLEMS_KEPT = 5


@dataclass(slots=True)
class Verdict:
    """What was found; `problems` holds the first few."""

    blocks: int
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether every block is right."""
        return self.wrong == 0

    def add(self, problem: str) -> None:
        """One more block is wrong."""
        self.wrong += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(problem)


def check_image(path: Path, seed: int, passes: int) -> Verdict:
    """Check all blocks of the image at `path` after `passes` passes over the whole of it."""
    blocks = path.stat().st_size // BLOCK
    verdict = Verdict(blocks)
    first = (passes - 1) * blocks
    writers: dict[int, int] = {}
    with path.open("rb") as image:
        for index in range(blocks):
            problem, sequence = check_block(image.read(BLOCK), index, seed)
            if not problem and not first <= sequence < first + blocks:
                problem = f"write {sequence}, expected one of {first}..{first + blocks - 1}"
            if not problem and writers.setdefault(sequence, index) != index:
                problem = f"write {sequence}, like block {writers[sequence]}"
            if problem:
                verdict.add(f"block {index}: {problem}")
    return verdict


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
