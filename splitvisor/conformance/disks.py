"""What is demanded of a disk while nobody dies."""

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drivers.filter import begin
from drivers.interface import Ability, MediumError, UnsupportedError
from splitvisor.conformance.contract import InapplicableError, check, demand
from splitvisor.conformance.medium import (
    SECTOR,
    get,
    pattern,
    put,
    region_of,
    same,
    storing,
    writable,
)
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import described

MAX_BLOCK = 65536
IDENTITY = 20
STEPS = 300
LENGTHS = (SECTOR, 3 * SECTOR, 4096, 65536 + SECTOR, (1 << 20) + SECTOR)
BESIDE = 16 * SECTOR  # of what must stay on both sides
METHODS = ("read", "write", "flush", "close")
ABLE = {Ability.DISCARD: "discard", Ability.WRITE_ZEROES: "write_zeroes"}


@check("block")
def says_what_it_is(subject: Subject) -> None:
    """Size, serial number, block size, abilities and patience are of the types and in the limits
    of the interface.
    """
    with subject.serving() as disk:
        size = disk.size
        demand(type(size) is int, f"size is {size!r}, not an int")
        demand(size > 0 and size % SECTOR == 0, f"size {size} is not a positive multiple of 512")
        demand(type(disk.readonly) is bool, f"readonly is {disk.readonly!r}, not a bool")
        name = disk.identity
        short = isinstance(name, str) and name.isascii() and len(name) <= IDENTITY
        demand(short, f"identity {name!r} is not a str of at most 20 ASCII characters")
        block = getattr(disk, "block_size", SECTOR)
        power = type(block) is int and SECTOR <= block <= MAX_BLOCK and block & (block - 1) == 0
        demand(power, f"block_size {block!r} is not a power of two from 512 to 65536")
        patience = getattr(disk, "patience", None)
        known = patience is None or (isinstance(patience, int | float) and patience > 0)
        demand(known, f"patience {patience!r} is not None or a positive number of seconds")
        abilities = getattr(disk, "abilities", Ability.NONE)
        demand(isinstance(abilities, Ability), f"abilities {abilities!r} is not an Ability")
        needed = [*METHODS, *(name for ability, name in ABLE.items() if ability in abilities)]
        for method in needed:
            demand(callable(getattr(disk, method, None)), f"there is no method {method}")


@check("block")
def reads_anywhere(subject: Subject) -> None:
    """Reads of any number of sectors, from one to 2,049, are filled at the start, at the end and
    between, and nothing beside them is touched.
    """
    with subject.serving() as disk:
        for length in LENGTHS:
            if length > disk.size:
                break
            middle = (disk.size - length) // 2 // SECTOR * SECTOR
            for offset in (0, middle, disk.size - length):
                first, second = (_guarded(disk, offset, length, mark) for mark in (0x00, 0xFF))
                demand(first == second, f"a read of {length} bytes at {offset} fills not all")


def _guarded(disk: Any, offset: int, length: int, mark: int) -> bytes:
    into = bytearray([mark]) * (length + 2 * SECTOR)
    disk.read(offset, memoryview(into)[SECTOR : SECTOR + length])
    around = into[:SECTOR] + into[SECTOR + length :]
    demand(around == bytes([mark]) * (2 * SECTOR), "a read writes beside the bytes it was given")
    return bytes(into[SECTOR : SECTOR + length])


@check("block")
def stores_what_is_written(subject: Subject) -> None:
    """What is written, of any number of sectors, at the start, at the end and between, is read
    back; the sectors beside it stay.
    """
    writable(subject)
    with subject.serving() as disk:
        for seed, length in enumerate(LENGTHS):
            if length + 2 * BESIDE > disk.size:
                break
            middle = (disk.size - length) // 2 // SECTOR * SECTOR
            for offset in (0, middle, disk.size - length):
                start = max(offset - BESIDE, 0)
                before = pattern(min(offset + length + BESIDE, disk.size) - start, seed + 100)
                put(disk, start, before)
                when = f"after {len(before)} bytes at {start}"
                same(get(disk, start, len(before)), before, start, when)
                data = pattern(length, seed)
                put(disk, offset, data)
                at = offset - start
                wanted = before[:at] + data + before[at + length :]
                when = f"after {length} bytes at {offset}"
                same(get(disk, start, len(wanted)), wanted, start, when)


@check("block")
def is_like_bytes_in_memory(subject: Subject) -> None:
    """After each of 300 overlapping writes, zeros and discards at random, all is as in an array of
    bytes; what was discarded is what was there, or zeros.
    """
    writable(subject)
    seed = 7
    chance = random.Random(seed)
    with subject.serving() as disk:
        size = min(region_of(disk), 1 << 20)
        held = bytearray(get(disk, 0, size))
        for step in range(STEPS):
            length = chance.choice((1, 2, 7, 8, 9, 64, 127)) * SECTOR
            length = min(length, size)
            offset = chance.randrange((size - length) // SECTOR + 1) * SECTOR
            what = chance.choice(_operations(disk))
            if what == "discard":
                disk.discard(offset, length)
                found = get(disk, offset, length)
                _old_or_zeros(found, bytes(held[offset : offset + length]), offset)
                held[offset : offset + length] = found
            elif what == "write_zeroes":
                disk.write_zeroes(offset, length, chance.random() < 0.5)
                held[offset : offset + length] = bytes(length)
            elif what == "flush":
                disk.flush()
            else:
                data = pattern(length, step)
                put(disk, offset, data)
                held[offset : offset + length] = data
            around = max(offset - 8 * SECTOR, 0)
            stop = min(offset + length + 8 * SECTOR, size)
            found = get(disk, around, stop - around)
            same(
                found,
                bytes(held[around:stop]),
                around,
                f"after {what} in step {step} of seed {seed}",
            )
        same(get(disk, 0, size), bytes(held), 0, f"in the end of seed {seed}")


def _operations(disk: Any) -> list[str]:
    abilities = getattr(disk, "abilities", Ability.NONE)
    able = [name for ability, name in ABLE.items() if ability in abilities]
    return ["write"] * 12 + ["flush"] + able * 4


def _old_or_zeros(found: bytes, old: bytes, offset: int) -> None:
    for at in range(0, len(found), SECTOR):
        sector = found[at : at + SECTOR]
        demand(
            sector in (old[at : at + SECTOR], bytes(SECTOR)),
            f"the discarded sector {(offset + at) // SECTOR} is neither what was there nor zeros",
        )


@check("block")
def keeps_nothing_that_is_lent(subject: Subject) -> None:
    """The bytes of a write are only lent, and may be read-only: whoever changes them when the write
    has returned does not change the disk.
    """
    writable(subject)
    with subject.serving() as disk:
        data = pattern(8 * SECTOR, 1)
        put(disk, 0, data)  # a memoryview of bytes is read-only
        lent = bytearray(pattern(8 * SECTOR, 2))
        wanted = bytes(lent)
        disk.write(0, memoryview(lent))
        lent[:] = bytes(len(lent))
        same(get(disk, 0, len(lent)), wanted, 0, "after the written bytes have changed")
        lent.append(0)  # BufferError if somebody holds on to it


@check("block")
def writes_twice_as_once(subject: Subject) -> None:
    """A write that is executed again, as in a replay, changes nothing; not across incarnations
    either.
    """
    writable(subject)
    data, other = pattern(8 * SECTOR, 3), pattern(SECTOR, 4)
    wanted = data[:SECTOR] + other + data[2 * SECTOR :]
    for _ in range(2):
        with subject.serving() as disk:
            for _ in range(2):
                put(disk, 0, data)
                put(disk, SECTOR, other)
            same(get(disk, 0, len(data)), wanted, 0, "after a replay")


@check("block")
def works_on_another_thread(subject: Subject) -> None:
    """It is opened on one thread, and serves and is closed on another."""
    problems: list[str] = []

    def serve() -> None:
        try:
            begin(disk)
            first = get(disk, 0, SECTOR)
            if not disk.readonly:
                put(disk, 0, first)
                disk.flush()
            disk.close()
        except Exception as error:
            problems.append(described(error))

    disk = subject.open()
    _joined(serve)
    demand(not problems, f"on another thread: {''.join(problems)}")


def _joined(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@check("block")
def flushes_at_any_time(subject: Subject) -> None:
    """A flush returns before anything was written, after it, and twice in a row."""
    with subject.serving() as disk:
        disk.flush()
        if not disk.readonly:
            put(disk, 0, pattern(SECTOR, 5))
        disk.flush()
        disk.flush()


@check("block")
def is_unchanged_if_readonly(subject: Subject) -> None:
    """A disk that says it is read-only does not change when it is written to nevertheless."""
    with subject.serving() as disk:
        if not disk.readonly:
            raise InapplicableError("the disk can be written")
        before = get(disk, 0, SECTOR)
        with suppress(MediumError, UnsupportedError):
            put(disk, 0, bytes(255 - byte for byte in before))
        demand(get(disk, 0, SECTOR) == before, "a write to a read-only disk has changed it")


@check("block")
def survives_being_closed(subject: Subject) -> None:
    """What was written is there when the disk has been closed and is opened again; no flush is
    needed for that.
    """
    writable(subject)
    with subject.serving() as disk:
        length = min(region_of(disk), 1 << 20)
        data = pattern(length, 6)
        put(disk, 0, data)
    with subject.serving() as disk:
        same(get(disk, 0, length), data, 0, "after close and open")


@check("block")
def stands_by(subject: Subject) -> None:
    """One that was opened while another serves sees, from `begin` on, all that the other wrote
    until then.
    """
    writable(subject)
    with subject.opened() as second:
        with subject.serving() as first:
            put(first, 0, pattern(8 * SECTOR, 7))
            put(first, 4 * SECTOR, pattern(8 * SECTOR, 8))
            wanted = get(first, 0, 12 * SECTOR)
            size = first.size
        begin(second)
        demand(second.size == size, f"the standby has {second.size} bytes, the first had {size}")
        same(get(second, 0, len(wanted)), wanted, 0, "in a standby that takes over")
    with subject.serving() as disk:
        same(get(disk, 0, len(wanted)), wanted, 0, "after a takeover")


@check("block")
def stands_by_in_vain(subject: Subject) -> None:
    """One that was opened while another serves, and is closed without `begin`, leaves the other
    alone.
    """
    with subject.serving() as first:
        storing(first)
        before = get(first, 0, 8 * SECTOR)
        subject.open().close()
        same(get(first, 0, len(before)), before, 0, "after a standby has gone")
        if not first.readonly:
            data = pattern(8 * SECTOR, 9)
            put(first, 0, data)
            standby = subject.open()
            put(first, SECTOR, data[::-1][SECTOR:])
            standby.close()
            data = data[:SECTOR] + data[::-1][SECTOR:]
            same(get(first, 0, len(data)), data, 0, "after a standby has gone")
    if not first.readonly:
        with subject.serving() as disk:
            same(get(disk, 0, len(data)), data, 0, "after a standby has gone and a restart")


@check("block")
def knows_its_content(subject: Subject) -> None:
    """The word for its content is a line of text, and the same before, while and after it is
    written to.
    """
    word = subject.content()
    if not word:
        raise InapplicableError("there is no telling what it serves (see Identified)")
    demand(word.isprintable(), f"the content's word {word!r} is no line of text")
    with subject.serving() as disk:
        demand(subject.content() == word, "the content's word changes when it is opened")
        if not disk.readonly:
            put(disk, 0, pattern(SECTOR, 10))
        changed = "the content's word changes when it is written to"
        demand(subject.content() == word, f"{changed}; it is to name the disk, not its bytes")
    demand(subject.content() == word, "the content's word changes when it is closed")
