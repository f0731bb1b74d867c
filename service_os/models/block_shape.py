"""What a guest finds in a disk (virtio 1.2, section 5.2): its features and configuration space.

They follow the driver. A guest that has found one disk may later be served by another driver,
and must then find what it knows: `as_seen` masks what has been added, `refusal` says why it cannot
be. The configuration space has one size whatever there is in it, because a size cannot change.

The guest's unit (`blk_size`) is 512 bytes on every disk, since every driver takes multiples of
that. What a driver would rather have (`block_size`) is told as the topology and the alignment of
discards. That is advice, which may be old without harm, so a driver of another `block_size` can
follow.
"""

import struct
from dataclasses import replace
from typing import Any, NamedTuple

from drivers.filter import abilities_of, block_size_of
from drivers.interface import Ability, BlockDriver
from service_os.models.attributes import of, whole, wrong
from service_os.models.base import QueueShape, Shape

DEVICE_ID = 2
SECTOR = 512
LARGEST = (1 << 63) - SECTOR  # bytes
LARGEST_BLOCK = 65536
_BLOCKS = f"{SECTOR} to {LARGEST_BLOCK}"
_ABLE = ((Ability.DISCARD, "discard"), (Ability.WRITE_ZEROES, "write_zeroes"))
QUEUE_SIZE = 256
HEADER = struct.Struct("<IIQ")  # type, reserved, sector
SEGMENT = struct.Struct("<QII")  # sector, number of sectors, flags; of discard and write zeroes
F_UNMAP = 1  # the only flag there is

F_SEG_MAX = 1 << 2
F_RO = 1 << 5
F_BLK_SIZE = 1 << 6
F_FLUSH = 1 << 9
F_TOPOLOGY = 1 << 10
F_DISCARD = 1 << 13
F_WRITE_ZEROES = 1 << 14
SEG_MAX = QUEUE_SIZE - 2  # a request has a header and a status descriptor besides its data

T_IN = 0
T_OUT = 1
T_FLUSH = 4
T_GET_ID = 8
T_DISCARD = 11
T_WRITE_ZEROES = 13
ID_BYTES = 20

S_OK = 0
S_IOERR = 1
S_UNSUPP = 2

# capacity, size_max, seg_max, geometry (3 fields), blk_size; topology (4); writeback, num_queues;
# max_discard_sectors, max_discard_seg, discard_sector_alignment; max_write_zeroes_sectors,
# max_write_zeroes_seg, write_zeroes_may_unmap
CONFIG = struct.Struct("<QIIHBBIBBHIBxHIIIIIB3x")
_CAPACITY = struct.Struct("<Q")
_LIMITS_AT = 36
_LIMITS = struct.Struct("<IIIII")  # of discard, its alignment, of write zeroes

# What one request can ask for takes milliseconds, also of a driver that has to write each zero, and
# is one call of the driver: a service OS that completes nothing for the patience of one call counts
# as stuck.
DISCARD_SECTORS = 1 << 17
DISCARD_SEGMENTS = 1
ZEROES_SECTORS = 1 << 11  # as many as drivers write at once that have no other way

# Features that the model has without its driver: writing zeros is zeroing, and to forget a discard
# is to have done it.
_ALWAYS = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_DISCARD | F_WRITE_ZEROES


class Limit(NamedTuple):
    """How much one request may ask for."""

    sectors: int  # of each segment
    segments: int


def problem_of(driver: Any) -> str:
    """What of an open driver is not as it must be, in one line; "" if all is."""
    return (
        wrong(driver, "size", whole(0, LARGEST), f"be a number of bytes from 0 to {LARGEST}")
        or wrong(driver, "size", lambda size: size % SECTOR == 0, f"be a multiple of {SECTOR}")
        or wrong(driver, "readonly", of(bool), "be of type bool")
        or wrong(driver, "identity", of(str), "be of type str")
        or wrong(driver, "block_size", _is_block, f"be a power of two from {_BLOCKS}", SECTOR)
        or wrong(driver, "abilities", of(Ability), "be of type Ability", Ability.NONE)
        or _unable(driver)
    )


def _is_block(size: Any) -> bool:
    return whole(SECTOR, LARGEST_BLOCK)(size) and size.bit_count() == 1


def _unable(driver: Any) -> str:
    able = Ability.NONE if driver.readonly else abilities_of(driver)
    for ability, method in _ABLE:
        if ability in able and not callable(getattr(driver, method, None)):
            return f"the driver's abilities have {ability.name}: it must have a method {method}"
    return ""


def offered(driver: BlockDriver) -> Shape:
    """What a guest finds that has seen nothing yet."""
    able = Ability.NONE if driver.readonly else abilities_of(driver)
    features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | (F_RO if driver.readonly else 0)
    block = block_size_of(driver) // SECTOR
    topology = (block.bit_length() - 1, 0, block, 0)
    discard = zeroes = (0, 0, 0)
    if Ability.DISCARD in able:
        features |= F_DISCARD
        discard = (DISCARD_SECTORS, DISCARD_SEGMENTS, block)
    if Ability.WRITE_ZEROES in able:
        features |= F_WRITE_ZEROES
        zeroes = (ZEROES_SECTORS, 1, 1)
    capacity = driver.size // SECTOR
    config = CONFIG.pack(
        *(capacity, 0, SEG_MAX, 0, 0, 0, SECTOR), *topology, *(0, 0), *discard, *zeroes
    )
    queues = (QueueShape(QUEUE_SIZE, HEADER.size, ordered=True),)
    return Shape(DEVICE_ID, features, config, queues, failure=bytes((S_IOERR,)))


def as_seen(shape: Shape, seen: Shape) -> Shape:
    """`shape` for a guest that knows `seen` and is not refused: what it knows, but for the size."""
    capacity = shape.config_space[: _CAPACITY.size]
    config = capacity + seen.config_space[_CAPACITY.size :]
    return replace(shape, features=seen.features, config_space=config)


def refusal(seen: Shape, shape: Shape) -> str:
    """Why a guest that has seen one disk cannot be given another, in one line; "" if it can."""
    if seen.device_id != DEVICE_ID:
        return f"the guest knows a device of virtio type {seen.device_id}, which is no disk"
    if len(seen.config_space) != CONFIG.size or seen.queues != shape.queues:
        return "the guest knows a disk of another version of splitvisor: restart the guest"
    if (seen.features ^ shape.features) & F_RO:
        was, add = (
            ("read-only", "add readonly")
            if seen.features & F_RO
            else ("one it can write to", "give one that is not read-only")
        )
        return f"the guest knows the disk as {was}: {add}"
    if lost := seen.features & ~shape.features & ~_ALWAYS:
        return f"the guest knows features that no driver has (bits {lost:#x}): restart the guest"
    known, found = _capacity(seen), _capacity(shape)
    if found < known:
        return (
            f"the disk has {found * SECTOR} bytes, and the guest knows {known * SECTOR}: "
            "give one that is at least as large"
        )
    return ""


def limits(shape: Shape) -> dict[int, Limit]:
    """What may be asked for in requests with segments, by their type; only those offered."""
    found = _LIMITS.unpack_from(shape.config_space, _LIMITS_AT)
    told = {F_DISCARD: (T_DISCARD, found[:2]), F_WRITE_ZEROES: (T_WRITE_ZEROES, found[3:])}
    return {kind: Limit(*limit) for bit, (kind, limit) in told.items() if shape.features & bit}


def _capacity(shape: Shape) -> int:
    sectors: int = _CAPACITY.unpack_from(shape.config_space)[0]
    return sectors
