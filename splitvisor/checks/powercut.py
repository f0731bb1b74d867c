"""The loss of power, simulated, and what must have survived it.

The driver `block.powercut` keeps what is durable apart from what is not: its file is the base
image, and writes that were not flushed wait beside it in a log, record after record:

    0    8 bytes "SVPCLOG1"
    8    u64 number of the record, from 0
    16   u64 offset in the image, in bytes
    24   u32 length in bytes
    28   u32 CRC-32 of the data
    32   u64 0
    40   data

with numbers little-endian. A flush moves all records into the image, in order, and empties the log.
A power cut puts any of the records on the medium, in any order, torn between sectors: a disk with
a write-back cache promises no more (Zheng et al., "Understanding the Robustness of SSDs under
Power Fault", FAST 2013, saw all of that).
"""

import os
import shutil
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random

from splitvisor.checks.image import check_image
from splitvisor.checks.stamps import BLOCK, make_block
from splitvisor.checks.verdict import Verdict
from splitvisor.checks.workload import NEVER, Workload

MAGIC = b"SVPCLOG1"
SECTOR = 512
HEADER = struct.Struct("<8sQQIIQ")
_LOST, _TORN = 0.4, 0.3  # of all records; of those that are not lost


class LogError(Exception):
    """The log is none; one line."""


@dataclass(frozen=True, slots=True)
class Record:
    """A write that was not flushed."""

    offset: int
    data: bytes


def read_log(path: Path) -> list[Record]:
    """All records; one that is cut short at the end was never acknowledged, and is left out."""
    log = path.read_bytes()
    records: list[Record] = []
    at = 0
    while at + HEADER.size <= len(log):
        magic, number, offset, length, crc, _ = HEADER.unpack_from(log, at)
        if magic != MAGIC or number != len(records):
            raise LogError(f"{path}: no record {len(records)} at byte {at}")
        data = log[at + HEADER.size : at + HEADER.size + length]
        if len(data) < length:
            break
        if zlib.crc32(data) != crc:
            raise LogError(f"{path}: the CRC of record {number} is wrong")
        records.append(Record(offset, data))
        at += HEADER.size + length
    return records


def cut(image: Path, log: Path, seed: int, into: Path) -> int:
    """Copy the image `into` another file and let the power fail; how many records got through.

    The same seed makes the same cut.
    """
    random = Random(seed)
    records = read_log(log)
    kept = [record for record in records if random.random() >= _LOST]
    random.shuffle(kept)
    shutil.copyfile(image, into)
    fd = os.open(into, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for record in kept:
            torn = random.random() < _TORN
            for at in range(0, len(record.data), SECTOR):
                if not torn or random.random() < 0.5:
                    os.pwrite(fd, record.data[at : at + SECTOR], record.offset + at)
    finally:
        os.close(fd)
    return len(kept)


def judge(
    image: Path,
    workload: Workload,
    flushed: int,
    submitted: int,
    failed: Collection[int] = (),
) -> Verdict:
    """Whether `image` holds every write below `flushed`, and else only what was submitted.

    `flushed` is what the guest said last (`storm: flushed <k> <flushed>`); `submitted` is at
    least the number of operations that it had submitted. A block may be torn only between the
    write that must be there and later ones.
    """
    later: dict[int, list[int]] = {}
    for number in (*failed, *range(flushed, submitted)):
        operation = workload.operation(number)
        for block in range(operation.first, operation.first + operation.count):
            if operation.writes(block):
                later.setdefault(block, []).append(number)

    def torn(data: bytes, block: int, floor: int) -> bool:
        if block not in later:
            return False
        allowed = (floor, *later[block])
        return _is_patchwork(data, [_content(workload, block, n) for n in allowed if n >= floor])

    return check_image(image, workload, flushed, submitted, failed, torn)


def _content(workload: Workload, block: int, number: int) -> bytes:
    return bytes(BLOCK) if number == NEVER else make_block(block, number, workload.seed)


def _is_patchwork(data: bytes, pieces: list[bytes]) -> bool:
    return len(data) == BLOCK and all(
        any(data[at : at + SECTOR] == piece[at : at + SECTOR] for piece in pieces)
        for at in range(0, BLOCK, SECTOR)
    )
