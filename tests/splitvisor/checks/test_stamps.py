"""Blocks, against bytes made here after their description."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.checks.stamps import BLOCK, check_block, make_block

SEED = 7
WORDS = st.integers(0, 2**64 - 1)


def block(index, sequence, seed=SEED, magic=b"SVBLOCK1"):
    body = magic + struct.pack("<QQQ", index, sequence, seed)
    body += bytes((index + i) % 256 for i in range(BLOCK - 4 - len(body)))
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (block(3, 0), "index 3, expected 4"),
        (block(4, 0, seed=8), "seed 8"),
        (block(4, 0, magic=b"SVBLOCK2"), "magic"),
        (block(4, 0)[:-1], "4095 bytes"),
    ],
)
def test_what_is_wrong_is_named(data, word):
    assert word in check_block(data, 4, SEED)[0]


@given(index=WORDS, sequence=WORDS, at=st.integers(0, BLOCK - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(index, sequence, at, flip):
    right = block(index, sequence)
    assert check_block(right, index, SEED) == ("", sequence)
    wrong = bytearray(right)
    wrong[at] ^= flip
    assert check_block(bytes(wrong), index, SEED)[0]


@given(index=WORDS, sequence=WORDS, seed=WORDS)
def test_made_blocks_are_good_and_every_sector_tells_the_write(index, sequence, seed):
    made = make_block(index, sequence, seed)
    assert check_block(made, index, seed) == ("", sequence)
    other = make_block(index, sequence ^ 1, seed)
    assert all(made[at : at + 512] != other[at : at + 512] for at in range(0, BLOCK, 512))
