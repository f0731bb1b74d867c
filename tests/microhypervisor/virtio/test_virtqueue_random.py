"""Random rings, and all small ones: none does harm, each is served or a fault."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microhypervisor.errors import GuestFault
from microhypervisor.limits import MAX_CHAIN_BYTES, MAX_QUEUE_SIZE
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from microhypervisor.virtio.constants import DESC_NEXT
from microhypervisor.virtio.virtqueue import Virtqueue
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM
from tests.microhypervisor.ring import WRITE, Ring
from tests.microhypervisor.virtio.conftest import ANY, BUFFER, TABLE, serve

EDGES = [0, 1, 15, 16, 0x10000, BUFFER, LOW_RAM - 16, LOW_RAM - 1, LOW_RAM, ROM, HIGH_RAM - 1]
EDGES += [HIGH_RAM, HIGH_RAM + (1 << 20) - 1, 1 << 32, 1 << 63, (1 << 64) - 1]
addresses = st.one_of(
    st.sampled_from(EDGES), st.integers(0, LOW_RAM), st.sampled_from([TABLE, TABLE + 16])
)
lengths = st.one_of(
    st.sampled_from([0, 1, 15, 16, 32, 48, 64, 4096, 1 << 20, 0xFFFFFFFF]), st.integers(0, 300)
)


@st.composite
def descriptors(draw, entries):
    flags = draw(st.integers(0, 7) | st.sampled_from([0, 1, 2, 3, 0xFFFF]))
    following = draw(st.integers(0, entries) | st.sampled_from([0xFFFF, 0x8000]))
    return draw(addresses), draw(lengths), flags, following


@st.composite
def rings(draw):
    size = 2 ** draw(st.integers(0, 4))
    return {
        "size": size,
        "table": draw(st.lists(descriptors(size), max_size=size)),
        "indirect": draw(st.lists(descriptors(8), max_size=8)),
        "avail": draw(st.lists(st.integers(0, size) | st.just(0xFFFF), max_size=2 * size)),
        "ahead": draw(st.integers(0, size + 1) | st.sampled_from([0xFFFF, 0x8000])),
        "event_idx": draw(st.booleans()),
    }


class CountingTable:
    """Counts the descriptors that a walk reads."""

    def __init__(self, monkeypatch):
        self.reads = 0
        unpack = struct.Struct("<QIHH").unpack_from

        def counted(buffer, offset):
            self.reads += 1
            return unpack(buffer, offset)

        monkeypatch.setattr("microhypervisor.virtio.virtqueue._DESCRIPTOR", counted)


@pytest.fixture(scope="module")
def playground():
    memory = GuestMemory(
        "random",
        lay_out(
            [
                (RegionKind.RAM, 0, LOW_RAM),
                (RegionKind.ROM, ROM, 0x1000),
                (RegionKind.RAM, HIGH_RAM, 1 << 20),
            ]
        ),
    )
    yield memory
    memory.close()


@pytest.fixture(scope="module")
def counting():
    with pytest.MonkeyPatch.context() as patch:
        yield CountingTable(patch)


def ram_offsets(memory):
    return [(r.offset, r.offset + r.size) for r in memory.regions if r.kind is RegionKind.RAM]


def check_pops(memory, queue, counting):
    """Pop until nothing comes or a fault does; what came must be harmless."""
    out = set()
    while True:
        counting.reads = 0
        try:
            chains = queue.pop(3)
        except GuestFault:
            break
        finally:
            # a walk reads each descriptor at most once, and one table's own descriptor
            assert counting.reads <= 3 * (queue._size + 1)
        if not chains:
            break
        for chain in chains:
            assert chain.head not in out, "a head came twice"
            out.add(chain.head)
            segments = chain.readable + chain.writable
            assert 0 < len(segments) <= queue._size
            for at, length in segments:
                assert any(low <= at and at + length <= high for low, high in ram_offsets(memory))
            assert chain.readable_bytes == sum(length for _, length in chain.readable)
            assert chain.writable_bytes == sum(length for _, length in chain.writable)
            assert chain.readable_bytes + chain.writable_bytes <= MAX_CHAIN_BYTES
    return out


@settings(max_examples=400, deadline=None)
@given(setup=rings())
def test_no_ring_can_do_harm(playground, counting, setup):
    ring = Ring(playground, setup["size"])
    playground.view[:LOW_RAM] = bytes(LOW_RAM)
    for index, (address, length, flags, following) in enumerate(setup["table"]):
        ring.describe(index, address, length, flags, following)
    for index, (address, length, flags, following) in enumerate(setup["indirect"]):
        ring.describe(index, address, length, flags, following, table=TABLE)
    for place, head in enumerate(setup["avail"][: ring.size]):
        ring.poke(ring.avail + 4 + 2 * place, "H", head)
    ring.avail_index = setup["ahead"]
    queue = serve(ring, setup["event_idx"])
    out = check_pops(playground, queue, counting)
    queue.push([(head, 0) for head in out])
    assert sorted(head for head, _ in ring.take()) == sorted(out)
    queue.disable()


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(0, 2048) | st.sampled_from([2**n for n in range(11)]),
    desc=addresses,
    avail=addresses,
    used=addresses,
)
def test_rings_anywhere_are_served_or_faults(playground, size, desc, avail, used):
    queue = Virtqueue(playground, 0, MAX_QUEUE_SIZE)
    try:
        queue.enable(size, desc, avail, used, True)
        queue.pop(1)
        queue.listen()
        queue.push([])
    except GuestFault:
        pass
    queue.disable()


def test_every_small_ring_of_two(playground, counting):
    """All links, flags and heads of a queue of two: outcome predicted by an independent reading."""
    ring = Ring(playground, 2)
    flags = [0, DESC_NEXT, WRITE, WRITE | DESC_NEXT]
    for first, second in itertools.product(itertools.product(flags, (0, 1, 2)), repeat=2):
        for head in (0, 1, 2):
            playground.view[:0x20000] = bytes(0x20000)
            table = [first, second]
            for index, (flag, following) in enumerate(table):
                ring.describe(index, BUFFER + index, 1, flag, following)
            ring.offer(head)
            queue = serve(ring)
            expected = predict(table, head)
            try:
                (chain,) = queue.pop(ANY)
                got = [at - BUFFER for at, _ in chain.readable + chain.writable]
            except GuestFault:
                got = None
            assert got == expected, (table, head)
            queue.disable()


def predict(table, head):
    """The descriptors that a chain is made of; None for a fault."""
    order = []
    while True:
        if head >= len(table) or head in order:
            return None
        if order and table[order[-1]][0] & WRITE and not table[head][0] & WRITE:
            return None
        order.append(head)
        if not table[head][0] & DESC_NEXT:
            return order
        head = table[head][1]
