"""A storm without a guest: the same operations on a disk that is a list of blocks."""

import zlib

import pytest

from splitvisor.checks.stamps import BLOCK, make_block
from splitvisor.checks.workload import Kind, Workload

SEED = 5
ZEROS = bytes(BLOCK)


@pytest.fixture
def workload():
    """Few blocks, so that they are written often."""
    return Workload(seed=SEED, blocks=12, flush=16)


@pytest.fixture
def make_disk():
    """The blocks after the first `submitted` operations, but for those in `lost`."""

    def make(workload, submitted, lost=()):
        blocks = [ZEROS] * workload.blocks
        for number in range(submitted):
            operation = workload.operation(number)
            if operation.kind is Kind.WRITE and number not in lost:
                for block in range(operation.first, operation.first + operation.count):
                    blocks[block] = make_block(block, number, workload.seed)
        return blocks

    return make


@pytest.fixture
def image(tmp_path):
    """A file of these blocks."""

    def write(blocks, name="disk.img"):
        path = tmp_path / name
        path.write_bytes(b"".join(blocks))
        return path

    return write


def say(workload, lines):
    """The log of a storm that has said so many numbered lines, as a list of lines."""
    w = workload
    said = [
        f"storm: start seed={w.seed} blocks={w.blocks} span={w.span} writes={w.writes} "
        f"flush={w.flush} depth=32 hz=2000000000\n"
    ]
    for i in range(lines):
        text = w.line(i)
        said.append(f"storm: line {i} {zlib.crc32(text.encode()):08x} {text}\n")
        if i % 2:
            said.append(f"storm: flushed {i // 2} {i * 100}\n")
        if i % 3 == 2:
            said.append(f"storm: at {i // 3 + 1} {i * 1000}\n")
            said.append(f"storm: gap {2000 + i} at {i * 300}\n")
    sent = "".join(said).encode()
    said.append(
        "storm: result requests=9000 in_time=8000 time_us=2000000 submitted=8000 "
        f"errors=0 console={len(sent)} crc=0x{zlib.crc32(sent):08x}\n"
    )
    return [*said, "storm: PASS 9000 requests\n"]


@pytest.fixture
def said():
    """See say."""
    return say
