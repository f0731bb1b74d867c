"""The check from outside, against images made here after the description of blocks."""

import struct
import zlib

import pytest

from splitvisor.checks.stamps import BLOCK
from splitvisor.demo.stamps import check_image

SEED = 7


def block(index, sequence, seed=SEED, magic=b"SVBLOCK1"):
    body = magic + struct.pack("<QQQ", index, sequence, seed)
    body += bytes((index + i) % 256 for i in range(BLOCK - 4 - len(body)))
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.fixture
def image(tmp_path):
    """Write blocks whose numbers are given by index."""

    def write(sequences):
        path = tmp_path / "disk.img"
        path.write_bytes(b"".join(block(i, n) for i, n in enumerate(sequences)))
        return path

    return write


def test_blocks_of_the_last_pass_in_any_order_agree(image):
    assert check_image(image([10, 8, 11, 9]), SEED, 3).agrees


@pytest.mark.parametrize(
    ("sequences", "problem"),
    [
        ([10, 8, 11, 5], "block 3: write 5, expected one of 8..11"),
        ([10, 8, 11, 12], "block 3: write 12, expected one of 8..11"),
        ([10, 8, 11, 8], "block 3: write 8, like block 1"),
    ],
    ids=["stale", "from the future", "twice"],
)
def test_a_block_of_another_write_does_not(image, sequences, problem):
    verdict = check_image(image(sequences), SEED, 3)
    assert not verdict.agrees
    assert (verdict.checked, verdict.wrong, verdict.problems) == (4, 1, [problem])


def test_all_wrong_blocks_are_counted_and_the_first_few_named(tmp_path):
    path = tmp_path / "empty.img"
    path.write_bytes(bytes(BLOCK * 100))
    verdict = check_image(path, SEED, 1)
    assert (verdict.wrong, len(verdict.problems)) == (100, 5)
