"""All virtqueues of up to four descriptors over the boundary values of their fields.

The full product of all fields is too large, so it is taken apart the way the walk is: what it does
with a descriptor depends on four things, which it looks at one after the other.

1. Whether [address, address + length) is in one RAM region and not empty. This check reads nothing
   else, so every pair of an address and a length is tried at every position, in both directions,
   and all pairs of pairs in chains of two.
2. The flags and, if they say so, `next`, in the light of where the walk is: how many descriptors it
   has seen, whether one was writable, whether it is in an indirect table and of how many entries.
   All graphs of flags and links are tried, which is to reach every such state by every way; the
   addresses are good there, because a bad one ends the walk before its flags are looked at.
3. Of an indirect descriptor, besides, whether its length is whole descriptors: all lengths and
   addresses, and all graphs of tables of up to four entries from several positions.
4. The sum of all lengths, which is only looked at in the end.

Heads, the available index and what is outstanding are looked at before any descriptor. Each
outcome is held against an independent reading of the specification.
"""

import itertools
import struct
from contextlib import suppress

import pytest

from microhypervisor.errors import GuestFault
from microhypervisor.limits import MAX_CHAIN_BYTES
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from microhypervisor.virtio.constants import DESC_INDIRECT as I
from microhypervisor.virtio.constants import DESC_NEXT as N
from microhypervisor.virtio.constants import DESC_WRITE as W
from microhypervisor.virtio.virtqueue import Virtqueue

PAGE = 4096
RAM_END = 8 << 20  # where ROM begins; behind it RAM again, then nothing
ROM_END = RAM_END + PAGE
SECOND_END = ROM_END + 4 * PAGE
HIGH, HIGH_END = 1 << 32, (1 << 32) + (1 << 20)
RAM = [(0, RAM_END), (ROM_END, SECOND_END), (HIGH, HIGH_END)]
SHIFTS = [0, 0, SECOND_END - HIGH]  # from addresses to places in the memory file

DESC, AVAIL, USED = 0x10000, 0x11000, 0x12000
TABLE, BUFFER = 0x20000, 0x30000
SIZES = (1, 2, 4)
UNKNOWN = 0xFFF8  # flags that virtio does not know
GOOD = (BUFFER, 1, 0, 0)  # a readable byte
ENTRY = struct.Struct("<QIHH")

LENGTHS = [0, 1, 2, PAGE, PAGE + 1, RAM_END, 1 << 31, (1 << 32) - 1]
EDGES = [0, RAM_END, ROM_END, SECOND_END, HIGH, HIGH_END, 1 << 45, 1 << 63, 1 << 64]
ADDRESSES = sorted(
    {
        address
        for edge in EDGES
        for address in (edge, edge + 1, edge - 1, *(edge - length for length in LENGTHS))
        if 0 <= address < 1 << 64
    }
    | {RAM_END - PAGE // 2, RAM_END + 16, SECOND_END + (1 << 20)}
)


def place(address, length):
    """Where the buffer is in the memory file; None if it is not in one RAM region."""
    for (start, end), shift in zip(RAM, SHIFTS, strict=True):
        if start <= address < end and address + length <= end and length:
            return address + shift
    return None


def served(table, head, inner=()):
    """The segments (writable, place, length) of a chain, 2.7.5, with `inner` at TABLE; or None."""
    chain, entries, index, inside = [], table, head, False
    while index < len(entries):
        address, length, flags, following = entries[index]
        at = place(address, length)
        if at is None:
            return None
        if flags & I:
            if inside or flags & N or length % ENTRY.size:
                return None
            count = length // ENTRY.size
            known = list(inner) if address == TABLE else []
            entries = known[:count] + [(0, 0, 0, 0)] * min(count - len(known), 1)
            index, inside = 0, True
            continue
        writable = bool(flags & W)
        if chain and chain[-1][0] and not writable:
            return None
        chain.append((writable, at, length))
        if len(chain) > len(table):
            return None
        if not flags & N:
            return chain if sum(length for *_, length in chain) <= MAX_CHAIN_BYTES else None
        index = following
    return None


class Bench:
    """A queue, whose memory is written directly and whose reads of descriptors are watched."""

    def __init__(self, memory, patch):
        self.view = memory.view
        self.memory = memory
        self.reads = 0
        unpack = ENTRY.unpack_from

        def watched(view, at):
            self.reads += 1
            assert any(
                s + d <= at and at + 16 <= e + d for (s, e), d in zip(RAM, SHIFTS, strict=True)
            )
            return unpack(view, at)

        patch.setattr("microhypervisor.virtio.virtqueue._DESCRIPTOR", watched)

    def enable(self, size, start=0):
        """Serve an empty queue whose indices begin at `start`."""
        self.view[AVAIL : USED + PAGE] = bytes(USED + PAGE - AVAIL)
        self.size, self.index = size, 0
        self.avail = self.view[AVAIL : AVAIL + 6 + 2 * size].cast("H")
        self.queue = Virtqueue(self.memory, 0, 4)
        self.queue.enable(size, DESC, AVAIL, USED, False)
        self.table([GOOD] * size)
        self.table([GOOD], DESC + 16 * size)  # what a walk out of the table would find
        self.table([GOOD], DESC + 16 * 0xFFFF)
        for _ in range(start):
            assert self.attempt(0)

    def disable(self):
        """Let go of guest memory."""
        self.avail.release()
        self.queue.disable()

    def table(self, entries, at=DESC):
        """Write descriptors."""
        self.view[at : at + 16 * len(entries)] = b"".join(ENTRY.pack(*entry) for entry in entries)

    def attempt(self, head):
        """Offer a head and give it back at once: what the device got, None for a fault."""
        self.avail[2 + self.index % self.size] = head
        self.avail[1] = self.index + 1 & 0xFFFF
        self.reads = 0
        try:
            (chain,) = self.queue.pop(1)
        except GuestFault:
            return None
        finally:
            assert self.reads <= self.size + 1  # an indirect descriptor is one more
        self.queue.push([(head, 0)])
        self.index = self.index + 1 & 0xFFFF
        assert chain.head == head
        assert chain.readable_bytes == sum(length for _, length in chain.readable)
        assert chain.writable_bytes == sum(length for _, length in chain.writable)
        segments = ((False, chain.readable), (True, chain.writable))
        return [(writable, *segment) for writable, part in segments for segment in part]


@pytest.fixture(scope="module")
def memory():
    rom = (RegionKind.ROM, RAM_END, PAGE)
    ram = [(RegionKind.RAM, start, end - start) for start, end in RAM]
    memory = GuestMemory("all", lay_out([rom, *ram]))
    yield memory
    memory.close()


@pytest.fixture
def bench(memory, monkeypatch):
    memory.view[:0x40000] = bytes(0x40000)
    bench = Bench(memory, monkeypatch)
    yield bench
    bench.disable()


def links(size):
    """Values of `next`: everywhere, and out."""
    return (*range(size), size, 0xFFFF)


def nodes(size, at):
    """A descriptor with a good buffer, or that leads to TABLE, with all flags and links."""
    ends = [(BUFFER + at, 1, flags, 0) for flags in (0, W)]
    goes_on = [(BUFFER + at, 1, N | flags, to) for flags in (0, W) for to in links(size)]
    return ends + goes_on + [(TABLE, 16, I | flags, 0) for flags in (0, W, N)]


@pytest.mark.parametrize("size", SIZES)
def test_all_graphs(bench, size):
    bench.enable(size)
    inner = [(BUFFER + 9, 2, W, 0)]
    bench.table(inner, TABLE)
    for table in itertools.product(*(nodes(size, at) for at in range(size))):
        bench.table(table)
        for head in range(size):
            assert bench.attempt(head) == served(table, head, inner), (table, head)


@pytest.mark.parametrize("size", [1, 2])
def test_all_flags_known_or_not(bench, size):
    bench.enable(size)
    inner = [(BUFFER + 9, 2, W, 0)]
    bench.table(inner, TABLE)
    flags = [known | unknown for known in range(8) for unknown in (0, 8, 0x8000, UNKNOWN)]
    node = list(itertools.product([TABLE], [16], flags, links(size)))
    for table in itertools.product(node, repeat=size):
        bench.table(table)
        for head in links(size):
            assert bench.attempt(head) == served(table, head, inner), (table, head)


def straight(count, flags=0):
    """A chain of all descriptors, good ones."""
    return [(BUFFER + i, 1, flags | (N if i < count - 1 else 0), i + 1) for i in range(count)]


@pytest.mark.parametrize("direction", [0, W])
@pytest.mark.parametrize("size", SIZES)
def test_all_buffers_at_all_positions(bench, size, direction):
    bench.enable(size)
    for at, address, length in itertools.product(range(size), ADDRESSES, LENGTHS):
        table = straight(size, direction)
        table[at] = (address, length, *table[at][2:])
        bench.table(table)
        assert bench.attempt(0) == served(table, 0), table


def test_all_pairs_of_buffers(bench):
    bench.enable(2)
    buffers = list(itertools.product(ADDRESSES, (1, PAGE, (1 << 32) - 1)))
    for first, second in itertools.product(buffers, repeat=2):
        table = [(*first, N, 1), (*second, W, 0)]
        bench.table(table)
        assert bench.attempt(0) == served(table, 0), table


@pytest.mark.parametrize("writable", range(5))
def test_all_sums_around_the_largest(bench, writable):
    """The last so many are writable."""
    bench.enable(4)
    lengths = (1, RAM_END // 2 - 1, RAM_END // 2, RAM_END - 1, RAM_END)
    for parts in itertools.product(lengths, repeat=4):
        for count in range(1, 5):
            table = [
                (0, part, flags | (W if at >= count - writable else 0), following)
                for at, (part, (_, _, flags, following)) in enumerate(
                    zip(parts, straight(count), strict=False)
                )
            ]
            table += [(0, 0, 0, 0)] * (4 - count)
            bench.table(table)
            assert bench.attempt(0) == served(table, 0), table


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_indirect_graphs(bench, count, before):
    """A table after so many descriptors of the ring itself."""
    bench.enable(4)
    table = straight(4)
    table[before] = (TABLE, 16 * count, I, 0)
    bench.table(table)
    bench.table([GOOD], TABLE + 16 * count)
    bench.table([GOOD], TABLE + 16 * 0xFFFF)
    for inner in itertools.product(*(nodes(count, at) for at in range(count))):
        bench.table(inner, TABLE)
        assert bench.attempt(0) == served(table, 0, inner), inner


def test_tables_as_long_as_the_queue_and_longer(bench):
    bench.enable(4)
    for count, before in itertools.product(range(1, 8), range(4)):
        table, inner = straight(4), straight(count)
        table[before] = (TABLE, 16 * count, I, 0)
        bench.table(table)
        bench.table(inner, TABLE)
        assert bench.attempt(0) == served(table, 0, inner), (count, before)


@pytest.mark.parametrize("flags", [I, I | W, I | N, I | N | W, I | UNKNOWN])
def test_all_places_and_lengths_of_tables(bench, flags):
    bench.enable(4)
    inner = [(BUFFER, 1, N, 1), (BUFFER, 1, 0, 0)]
    bench.table(inner, TABLE)
    lengths = [*LENGTHS, *range(1, 66), (1 << 32) - 16, 1 << 20]
    for address, length in itertools.product([TABLE, *ADDRESSES], lengths):
        table = [(address, length, flags, 1), *straight(3)]
        bench.table(table)
        assert bench.attempt(0) == served(table, 0, inner), table[0]


@pytest.mark.parametrize("start", [0, 1, 0xFFFF])
@pytest.mark.parametrize("size", SIZES)
def test_all_heads_and_indices(bench, size, start):
    """No head is out twice, and what is behind a bad one is not looked at."""
    bench.enable(size, start)
    for heads in itertools.product(links(size), repeat=size):
        for ahead in {0, 1, size - 1, size, size + 1, 0x7FFF, 0x8000, 0xFFFF}:
            for offset, head in enumerate(heads):
                bench.avail[2 + (bench.index + offset) % size] = head
            bench.avail[1] = bench.index + ahead & 0xFFFF
            out = take(bench.queue, size)
            valid = 0 if ahead > size else ahead
            expected = list(itertools.takewhile(lambda h: h < size, heads[:valid]))
            while len(set(expected)) < len(expected):
                expected.pop()
            assert out == expected, (heads, ahead)
            bench.queue.push([(head, 0) for head in out])
            bench.index = bench.index + len(out) & 0xFFFF


def take(queue, size):
    """Heads, as long as they come and are not given back."""
    out = []
    while True:
        try:
            chains = queue.pop(size)
        except GuestFault:
            return out
        if not chains:
            return out
        out += [chain.head for chain in chains]


def test_rings_at_all_places(memory):
    edges = [0, RAM_END, ROM_END, SECOND_END, HIGH, HIGH_END, 1 << 45, 1 << 64]
    for size in (0, 1, 2, 3, 4, 8):
        parts = [(16 * size, 16), (6 + 2 * size, 2), (6 + 8 * size, 4)]
        last = [[(e - part) // to * to for e in edges[1:]] for part, to in parts]
        near = [[*fits, *(a + to for a in fits)] for fits, (_, to) in zip(last, parts, strict=True)]
        choices = [
            [a for a in {*edges, *more, DESC, DESC + to // 2} if 0 <= a < 1 << 64]
            for more, (_, to) in zip(near, parts, strict=True)
        ]
        for wanted in itertools.product(*choices):
            good = size in SIZES and all(
                place(address, length) is not None and address % alignment == 0
                for address, (length, alignment) in zip(wanted, parts, strict=True)
            )
            queue = Virtqueue(memory, 0, 4)
            with suppress(GuestFault):
                queue.enable(size, *wanted, False)
            assert queue.enabled == good, (size, wanted)
            queue.disable()
