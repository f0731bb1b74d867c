"""The vectors 4 and 10 of IEEE 1619, and that sectors are numbered on from the first."""

import hashlib
import random

import pytest

from drivers.xts import Xts

E_PI_128 = "27182818284590452353602874713526 31415926535897932384626433832795"
E_PI_256 = (
    "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592"
)
PLAIN = bytes(range(256)) * 2
# Key, number of the sector, how the secret begins and ends, and its SHA-256.
VECTORS = [
    (
        E_PI_128,
        0,
        "27a7479befa1d476489f308cd4cfa6e2",
        "0a282df920147beabe421ee5319d0568",
        "ebee4d64dd2395bb2d6a2d37a0a48ecb2bf4913cfc99d27c2214f2f4144715ea",
    ),
    (
        E_PI_256,
        0xFF,
        "1c3b3a102f770386e4836c99e370cf9b",
        "4f36ffda9fcea70b9c6e693e148c151",
        "e97e974fa393af794f7a4684395814cf820de60a01eaec677d87b452e316b364",
    ),
]


def through(way, sector, data):
    into = memoryview(bytearray(len(data)))
    way(sector, memoryview(data), into)
    return bytes(into)


@pytest.mark.parametrize(("key", "sector", "head", "tail", "digest"), VECTORS)
def test_it_is_that_of_the_standard(key, sector, head, tail, digest):
    xts = Xts(bytes.fromhex(key))
    secret = through(xts.encrypt, sector, PLAIN)
    assert secret.hex().startswith(head)
    assert secret.hex().endswith(tail)
    assert hashlib.sha256(secret).hexdigest() == digest
    assert through(xts.decrypt, sector, secret) == PLAIN


def test_each_sector_has_its_number():
    xts = Xts(random.Random(1).randbytes(64))
    first = (1 << 40) - 2  # the numbers have more than 32 bits
    whole = through(xts.encrypt, first, PLAIN * 4)
    parts = [through(xts.encrypt, first + i, PLAIN) for i in range(4)]
    assert whole == b"".join(parts)
    assert len(set(parts)) == 4
    assert through(xts.decrypt, first, whole) == PLAIN * 4


def test_a_key_with_equal_halves_is_refused():
    with pytest.raises(ValueError, match="both halves of the key are the same"):
        Xts(bytes(64))
