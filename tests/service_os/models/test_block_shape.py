"""What guests find in disks, and which disk may stand in for which."""

import struct
from dataclasses import replace
from types import SimpleNamespace

import pytest

from drivers.interface import Ability
from service_os.models.block_shape import (
    CONFIG,
    F_DISCARD,
    F_FLUSH,
    F_RO,
    F_WRITE_ZEROES,
    T_DISCARD,
    T_WRITE_ZEROES,
    as_seen,
    limits,
    offered,
    problem_of,
    refusal,
)

MIB = 1 << 20
BOTH = Ability.DISCARD | Ability.WRITE_ZEROES
PLAIN = SimpleNamespace(size=MIB, readonly=False, identity="plain")


def disk(size=MIB, readonly=False, abilities=Ability.NONE, block_size=512):
    return offered(
        SimpleNamespace(size=size, readonly=readonly, abilities=abilities, block_size=block_size)
    )


def field(shape, offset, code):
    """As virtio 1.2, 5.2.4 has them, little-endian and without gaps but for its own."""
    (value,) = struct.unpack_from("<" + code, shape.config_space, offset)
    return value


def test_a_driver_that_says_nothing_is_a_disk_that_can_be_read_written_and_flushed():
    shape = offered(PLAIN)
    assert (shape.device_id, field(shape, 0, "Q"), field(shape, 20, "I")) == (2, 2048, 512)
    assert shape.features & F_FLUSH
    assert not shape.features & (F_RO | F_DISCARD | F_WRITE_ZEROES)
    assert [(q.max_size, q.header_bytes, q.ordered) for q in shape.queues] == [(256, 16, True)]
    assert not any(shape.config_space[32:])


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, ""),
        ({"size": "8M"}, "the driver's size is '8M': it must be a number of bytes from 0 to 9223"),
        ({"size": -512}, "the driver's size is -512: it must be a number of bytes from 0 to 9223"),
        ({"size": 1 << 80}, "the driver's size is 1208925819614629174706176: it must be a number"),
        ({"size": 1000}, "the driver's size is 1000: it must be a multiple of 512"),
        ({"size": 0}, ""),
        ({"readonly": None}, "the driver's readonly is None: it must be of type bool"),
        ({"identity": 12345}, "the driver's identity is 12345: it must be of type str"),
        ({"block_size": 65536}, ""),
        ({"block_size": 1000}, "the driver's block_size is 1000: it must be a power of two"),
        ({"block_size": 256}, "the driver's block_size is 256: it must be a power of two from 512"),
        ({"block_size": 131072}, "the driver's block_size is 131072: it must be a power of two"),
        ({"block_size": 4096.0}, "the driver's block_size is 4096.0: it must be a power of two"),
        ({"abilities": 1}, "the driver's abilities is 1: it must be of type Ability"),
        ({"abilities": BOTH, "discard": print, "write_zeroes": print}, ""),
        ({"abilities": BOTH, "readonly": True}, ""),
        (
            {"abilities": Ability.DISCARD},
            "the driver's abilities have DISCARD: it must have a method discard",
        ),
        (
            {"abilities": BOTH, "discard": print},
            "the driver's abilities have WRITE_ZEROES: it must have a method write_zeroes",
        ),
    ],
)
def test_what_a_driver_must_have_is_named(changed, problem):
    found = problem_of(SimpleNamespace(**vars(PLAIN) | changed))
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_the_configuration_space_has_one_size():
    shapes = [disk(), disk(abilities=BOTH), disk(readonly=True, abilities=BOTH, block_size=4096)]
    assert {len(shape.config_space) for shape in shapes} == {CONFIG.size} == {60}


def test_abilities_are_features_with_limits():
    for able, bit, at in (
        (Ability.DISCARD, F_DISCARD, 36),
        (Ability.WRITE_ZEROES, F_WRITE_ZEROES, 48),
    ):
        shape = disk(abilities=able)
        assert shape.features & (F_DISCARD | F_WRITE_ZEROES) == bit
        assert field(shape, at, "I") > 0
        assert field(shape, at + 4, "I") > 0
        assert not any(shape.config_space[96 - at - 12 : 96 - at])  # the other's
    assert field(shape, 56, "B") == 1  # may unmap
    assert disk(abilities=BOTH, readonly=True).features & (F_DISCARD | F_WRITE_ZEROES) == 0
    assert set(limits(disk(abilities=BOTH))) == {T_DISCARD, T_WRITE_ZEROES}
    assert limits(disk()) == {}


@pytest.mark.parametrize(("size", "exponent"), [(512, 0), (4096, 3), (65536, 7)])
def test_a_block_size_is_advice(size, exponent):
    shape = disk(block_size=size, abilities=BOTH)
    assert field(shape, 20, "I") == 512
    assert (field(shape, 24, "B"), field(shape, 25, "B")) == (exponent, 0)
    assert field(shape, 26, "H") == field(shape, 44, "I") == size // 512


SEEN = disk(abilities=BOTH)
FOLLOWS = {
    "the same": disk(abilities=BOTH),
    "a larger one": disk(2 * MIB, abilities=BOTH),
    "one without discard": disk(abilities=Ability.WRITE_ZEROES),
    "one that can do nothing besides": disk(),
    "one of another block size": disk(block_size=4096),
}


@pytest.mark.parametrize("shape", FOLLOWS.values(), ids=FOLLOWS)
def test_what_may_follow_shows_what_was_seen_but_for_its_size(shape):
    assert refusal(SEEN, shape) == ""
    shown = as_seen(shape, SEEN)
    assert shown.features == SEEN.features
    assert shown.config_space[:8] == shape.config_space[:8]
    assert shown.config_space[8:] == SEEN.config_space[8:]
    assert limits(shown) == limits(SEEN)


def test_more_than_was_seen_is_not_shown():
    plain = disk()
    assert refusal(plain, SEEN) == ""
    assert as_seen(SEEN, plain) == plain


def test_what_follows_may_be_followed_again():
    shown = as_seen(disk(2 * MIB), SEEN)
    assert refusal(shown, disk(2 * MIB, abilities=BOTH)) == ""
    assert "1048576 bytes, and the guest knows 2097152" in refusal(shown, disk())


REFUSED = {
    "smaller": (SEEN, disk(MIB - 512), "1048064 bytes, and the guest knows 1048576"),
    "no longer written": (SEEN, disk(readonly=True), "one it can write to: give one that is not"),
    "suddenly written": (disk(readonly=True), SEEN, "as read-only: add readonly"),
    "no disk": (replace(SEEN, device_id=4), SEEN, "virtio type 4, which is no disk"),
    "no such space": (replace(SEEN, config_space=bytes(24)), SEEN, "another version"),
    "no such queues": (replace(SEEN, queues=SEEN.queues * 2), SEEN, "another version"),
    "unknown": (replace(SEEN, features=SEEN.features | 1 << 12), SEEN, r"bits 0x1000"),
}


@pytest.mark.parametrize(("seen", "shape", "why"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_follow_is_said_in_one_line(seen, shape, why):
    said = refusal(seen, shape)
    assert why in said
    assert "\n" not in said
