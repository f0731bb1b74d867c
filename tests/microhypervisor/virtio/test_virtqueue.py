"""Split virtqueues as transcripts of a driver and a device, and random rings that must not harm."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microhypervisor.errors import GuestFault
from microhypervisor.limits import MAX_CHAIN_BYTES, MAX_QUEUE_SIZE
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from microhypervisor.virtio.constants import DESC_NEXT, USED_NO_NOTIFY
from microhypervisor.virtio.virtqueue import Virtqueue
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM
from tests.microhypervisor.ring import INDIRECT, READ, WRITE, Ring

BUFFER = 0x40000
TABLE = 0x30000
ANY = MAX_QUEUE_SIZE


def serve(ring, event_idx=False):
    """The device's side of `ring`, enabled."""
    queue = Virtqueue(ring.memory, 0, MAX_QUEUE_SIZE)
    queue.enable(ring.size, ring.desc, ring.avail, ring.used, event_idx)
    return queue


@pytest.fixture
def ring(memory):
    return Ring(memory, 8)


@pytest.fixture
def queue(ring):
    queue = serve(ring)
    yield queue
    queue.disable()


def heads(chains):
    return [chain.head for chain in chains]


# --- the ordinary life of a chain


def test_a_chain_comes_out_as_offsets_and_its_head_goes_back(ring, queue):
    ring.chain(2, (READ, 0x5000, 16), (READ, HIGH_RAM + 0x100, 512), (WRITE, 0x7000, 1))
    ring.offer(2)
    (chain,) = queue.pop(ANY)
    assert chain.head == 2
    high = ring.memory.place(HIGH_RAM, 1)
    assert chain.readable == [(0x5000, 16), (high + 0x100, 512)]
    assert chain.writable == [(0x7000, 1)]
    assert (chain.readable_bytes, chain.writable_bytes) == (528, 1)
    assert queue.pop(ANY) == []
    assert ring.take() == []
    queue.push([(2, 1)])
    assert ring.take() == [(2, 1)]


def test_chains_come_in_the_order_offered_and_go_back_in_any(ring, queue):
    for head in range(8):
        ring.chain(head, (READ, BUFFER + head, 1))
    ring.offer(5, 0, 7)
    ring.offer(1)
    chains = queue.pop(ANY)
    assert heads(chains) == [5, 0, 7, 1]
    assert [chain.readable[0][0] - BUFFER for chain in chains] == [5, 0, 7, 1]
    queue.push([(1, 0), (5, 9)])
    queue.push([(7, 3)])
    assert ring.take() == [(1, 0), (5, 9), (7, 3)]


def test_a_limited_pop_leaves_the_rest_for_the_next(ring, queue):
    for head in range(5):
        ring.chain(head, (READ, BUFFER, 1))
    ring.offer(0, 1, 2, 3, 4)
    assert heads(queue.pop(2)) == [0, 1]
    assert heads(queue.pop(0)) == []
    assert heads(queue.pop(2)) == [2, 3]
    assert heads(queue.pop(2)) == [4]


@pytest.mark.parametrize("size", [2**power for power in range(11)])
def test_every_size_carries_more_requests_than_it_has_descriptors(memory, size):
    ring = Ring(memory, size)
    queue = serve(ring)
    for head in range(size):
        ring.chain(head, (WRITE, BUFFER, 4))
    for lap in range(3):
        ring.offer(*range(size))
        assert heads(queue.pop(ANY)) == list(range(size))
        queue.push([(head, lap) for head in range(size)])
        assert ring.take() == [(head, lap) for head in range(size)]
    # nothing outside the used ring was written
    assert ring.peek(ring.end, "Q") == (0,)


@pytest.mark.parametrize("event_idx", [False, True])
def test_indices_wrap_at_65536(memory, event_idx):
    ring = Ring(memory, 4)
    queue = serve(ring, event_idx)
    ring.chain(0, (READ, BUFFER, 1))
    for lap in range(0x10000 + 3):
        ring.offer(0)
        ring.interrupt_at(ring.used_index)
        if heads(queue.pop(1)) != [0] or not queue.push([(0, lap)]):
            pytest.fail(f"lap {lap}")
        queue.listen()
        if event_idx and ring.avail_event != ring.avail_index:
            pytest.fail(f"lap {lap}: asked to be rung at {ring.avail_event}")
    assert (ring.avail_index, ring.used_index) == (3, 3)


def test_a_disabled_queue_holds_no_part_of_guest_memory():
    memory = GuestMemory("test", lay_out([(RegionKind.RAM, 0, LOW_RAM)]))
    queue = serve(Ring(memory, 8))
    queue.disable()
    assert not queue.enabled
    memory.close()  # BufferError while anyone holds a view of it


def test_enabling_again_begins_at_index_zero_with_all_heads_free(ring, queue):
    ring.chain(3, (READ, BUFFER, 1))
    ring.offer(3)
    assert heads(queue.pop(ANY)) == [3]
    ring.avail_index = 0
    queue.enable(ring.size, ring.desc, ring.avail, ring.used, False)
    ring.offer(3)
    assert heads(queue.pop(ANY)) == [3]


# --- indirect tables


def test_an_indirect_table_is_walked_in_its_own_numbers(ring, queue):
    # The table needs no alignment, and its order is that of its links.
    ring.describe(5, TABLE + 3, 4 * 16, INDIRECT)
    ring.describe(0, BUFFER, 10, READ | DESC_NEXT, 3, table=TABLE + 3)
    ring.describe(3, BUFFER + 0x100, 20, READ | DESC_NEXT, 1, table=TABLE + 3)
    ring.describe(1, BUFFER + 0x200, 30, WRITE, 0, table=TABLE + 3)
    ring.offer(5)
    (chain,) = queue.pop(ANY)
    assert chain.head == 5
    assert chain.readable == [(BUFFER, 10), (BUFFER + 0x100, 20)]
    assert chain.writable == [(BUFFER + 0x200, 30)]


def test_plain_descriptors_may_lead_to_an_indirect_one(ring, queue):
    ring.describe(0, BUFFER, 1, READ | DESC_NEXT, 6)
    ring.describe(6, TABLE, 16, INDIRECT | WRITE)  # the write flag is to be ignored here
    ring.describe(0, BUFFER + 1, 2, READ, table=TABLE)
    ring.offer(0)
    (chain,) = queue.pop(ANY)
    assert chain.readable == [(BUFFER, 1), (BUFFER + 1, 2)]


def test_an_indirect_chain_may_have_as_many_buffers_as_the_queue_and_no_more(ring, queue):
    for head, count in ((0, 8), (1, 9)):
        table = TABLE + head * 0x1000
        ring.describe(head, table, 16 * count, INDIRECT)
        ring.chain(0, *[(READ, BUFFER, 1)] * count, table=table)
    ring.offer(0, 1)
    (chain,) = queue.pop(ANY)
    assert len(chain.readable) == 8
    with pytest.raises(GuestFault, match="longer than the queue"):
        queue.pop(ANY)


@pytest.mark.parametrize(
    ("flags", "address", "length", "text"),
    [
        (INDIRECT | DESC_NEXT, TABLE, 16, "malformed indirect"),
        (INDIRECT, TABLE, 8, "malformed indirect"),
        (INDIRECT, TABLE, 17, "malformed indirect"),
        (INDIRECT, TABLE, 0, "not guest RAM"),
        (INDIRECT, LOW_RAM - 16, 32, "not guest RAM"),
        (INDIRECT, ROM, 16, "not guest RAM"),
        (INDIRECT, 1 << 63, 0xFFFFFFF0, "not guest RAM"),
    ],
)
def test_bad_indirect_descriptors_are_faults(ring, queue, flags, address, length, text):
    ring.describe(0, address, length, flags, 1)
    ring.describe(0, BUFFER, 1, table=TABLE)
    ring.offer(0)
    with pytest.raises(GuestFault, match=text):
        queue.pop(ANY)


def test_a_table_in_a_table_is_a_fault(ring, queue):
    ring.describe(0, TABLE, 16, INDIRECT)
    ring.describe(0, TABLE, 16, INDIRECT, table=TABLE)
    ring.offer(0)
    with pytest.raises(GuestFault, match="malformed indirect"):
        queue.pop(ANY)


def test_a_link_out_of_an_indirect_table_is_a_fault(ring, queue):
    ring.describe(0, TABLE, 16, INDIRECT)
    ring.describe(0, BUFFER, 1, DESC_NEXT, 1, table=TABLE)  # 1 exists in the queue, not here
    ring.describe(1, BUFFER, 1)
    ring.offer(0)
    with pytest.raises(GuestFault):
        queue.pop(ANY)


# --- faults


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (LOW_RAM - 1, 2),
        (LOW_RAM, 1),
        (ROM, 1),
        (HIGH_RAM - 1, 2),
        (HIGH_RAM + (1 << 20), 1),
        (0, 0),
        (0, 0xFFFFFFFF),
        ((1 << 64) - 1, 1),
        ((1 << 64) - 1, 0xFFFFFFFF),
        ((1 << 63), 1),
    ],
)
def test_a_buffer_that_is_not_ram_is_a_fault(ring, queue, address, length):
    ring.describe(0, address, length)
    ring.offer(0)
    with pytest.raises(GuestFault, match="not guest RAM"):
        queue.pop(ANY)


@pytest.mark.parametrize(("address", "length"), [(LOW_RAM - 1, 1), (HIGH_RAM, 1 << 20), (0, 1)])
def test_a_buffer_that_just_fits_is_none(ring, queue, address, length):
    ring.describe(0, address, length)
    ring.offer(0)
    assert queue.pop(ANY)[0].readable_bytes == length


def test_a_loop_is_a_fault(ring, queue):
    ring.describe(0, BUFFER, 1, DESC_NEXT, 1)
    ring.describe(1, BUFFER, 1, DESC_NEXT, 0)
    ring.offer(0)
    with pytest.raises(GuestFault, match="longer than the queue"):
        queue.pop(ANY)


def test_a_chain_of_the_whole_table_is_none(ring, queue):
    ring.chain(0, *[(READ, BUFFER, 1)] * 8)
    ring.offer(0)
    assert len(queue.pop(ANY)[0].readable) == 8


def test_readable_after_writable_is_a_fault(ring, queue):
    ring.chain(0, (WRITE, BUFFER, 1), (READ, BUFFER, 1))
    ring.offer(0)
    with pytest.raises(GuestFault, match="readable descriptor after"):
        queue.pop(ANY)


@pytest.mark.parametrize("head", [8, 9, 0xFFFF])
def test_a_head_outside_the_table_is_a_fault(ring, queue, head):
    ring.offer(head)
    with pytest.raises(GuestFault, match="not a free descriptor"):
        queue.pop(ANY)


def test_a_head_offered_twice_is_a_fault_until_it_has_come_back(ring, queue):
    ring.chain(4, (READ, BUFFER, 1))
    ring.offer(4, 4)
    assert heads(queue.pop(ANY)) == [4]
    with pytest.raises(GuestFault, match="not a free descriptor"):
        queue.pop(ANY)
    queue.push([(4, 0)])
    assert heads(queue.pop(ANY)) == [4]


@pytest.mark.parametrize("ahead", [9, 0x8000, 0xFFFF])
def test_an_available_index_further_than_the_queue_is_a_fault(ring, queue, ahead):
    ring.avail_index = ahead
    with pytest.raises(GuestFault, match="available index"):
        queue.pop(ANY)


def test_overlapping_buffers_cannot_ask_for_more_than_the_limit(memory):
    # each descriptor names the same 2 MiB
    ring = Ring(memory, 16)
    queue = serve(ring)
    each = 2 << 20
    ring.chain(0, *[(READ, 0, each)] * (MAX_CHAIN_BYTES // each))
    ring.chain(8, *[(READ, 0, each)] * (MAX_CHAIN_BYTES // each - 1), (WRITE, 0, each))
    ring.offer(0, 8)
    assert len(queue.pop(ANY)) == 2
    ring.describe(7, 0, each, DESC_NEXT, 15)  # one more
    ring.describe(15, 0, 1, WRITE)
    queue.push([(0, 0), (8, 0)])
    ring.offer(0)
    with pytest.raises(GuestFault, match="exceeds"):
        queue.pop(ANY)


def test_good_chains_before_a_bad_one_are_served_first(ring, queue):
    ring.chain(0, (READ, BUFFER, 1))
    ring.chain(1, (READ, BUFFER, 1))
    ring.describe(2, LOW_RAM, 1)
    ring.chain(3, (READ, BUFFER, 1))
    ring.offer(0, 1, 2, 3)
    assert heads(queue.pop(ANY)) == [0, 1]
    for _ in range(2):  # and it does not go away
        with pytest.raises(GuestFault):
            queue.pop(ANY)


@pytest.mark.parametrize("size", [0, 3, 6, 2048, 0xFFFFFFFF, MAX_QUEUE_SIZE * 2])
def test_a_size_that_is_no_power_of_two_up_to_the_maximum_is_a_fault(memory, size):
    queue = Virtqueue(memory, 3, MAX_QUEUE_SIZE)
    with pytest.raises(GuestFault, match=f"queue 3: size {size} is not a power of two"):
        queue.enable(size, 0x1000, 0x2000, 0x3000, False)
    assert not queue.enabled


@pytest.mark.parametrize(
    ("desc", "avail", "used", "text"),
    [
        (0x1008, 0x2000, 0x3000, "descriptor table"),
        (0x1000, 0x2001, 0x3000, "available ring"),
        (0x1000, 0x2000, 0x3002, "used ring"),
        (LOW_RAM - 0x10, 0x2000, 0x3000, "descriptor table"),
        (0x1000, LOW_RAM - 0x10, 0x3000, "available ring"),
        (0x1000, 0x2000, LOW_RAM - 0x10, "used ring"),
        (0x1000, 0x2000, ROM, "used ring"),
        (1 << 63, 0x2000, 0x3000, "descriptor table"),
        (0x1000, (1 << 64) - 2, 0x3000, "available ring"),
    ],
)
def test_rings_that_are_misaligned_or_not_in_ram_are_faults(memory, desc, avail, used, text):
    queue = Virtqueue(memory, 0, 8)
    with pytest.raises(GuestFault, match=text):
        queue.enable(8, desc, avail, used, False)
    assert not queue.enabled


def test_rings_that_end_with_ram_are_served(memory):
    queue = Virtqueue(memory, 0, 8)
    end = HIGH_RAM + (1 << 20)
    queue.enable(8, end - 128, LOW_RAM - 22, HIGH_RAM, True)
    assert queue.pop(ANY) == []
    queue.enable(8, LOW_RAM - 128, end - 22, 0, True)
    assert not queue.listen()


# --- notifications, both ways


def test_without_event_index_the_flag_says_whether_an_interrupt_is_wanted(ring, queue):
    ring.chain(0, (READ, BUFFER, 1))
    for wanted in (True, False, True):
        ring.want_interrupts(wanted)
        ring.offer(0)
        queue.pop(ANY)
        assert queue.push([(0, 0)]) is wanted


def test_without_event_index_silence_and_listen_set_the_flag(ring, queue):
    queue.silence()
    assert ring.used_flags == USED_NO_NOTIFY
    assert queue.listen() is False
    assert ring.used_flags == 0


@pytest.mark.parametrize("event_idx", [False, True])
def test_listen_tells_of_a_chain_that_came_while_silent(memory, event_idx):
    ring = Ring(memory, 8)
    queue = serve(ring, event_idx)
    queue.silence()
    assert queue.pop(ANY) == []
    ring.chain(0, (READ, BUFFER, 1))
    ring.offer(0)
    assert queue.listen() is True
    assert heads(queue.pop(ANY)) == [0]
    assert queue.listen() is False


def test_with_event_index_the_flags_stay_zero_and_the_event_moves(memory):
    ring = Ring(memory, 8)
    queue = serve(ring, event_idx=True)
    for head in range(3):
        ring.chain(head, (READ, BUFFER, 1))
        ring.offer(head)
    queue.silence()
    queue.pop(ANY)
    assert (ring.used_flags, ring.avail_event) == (0, 0)
    queue.listen()
    assert (ring.used_flags, ring.avail_event) == (0, 3)


@pytest.mark.parametrize("start", [0, 1, 0x7FFE, 0xFFFC, 0xFFFF])
def test_with_event_index_an_interrupt_comes_when_the_event_is_passed(memory, start):
    # vring_need_event of virtio 1.2, 2.7.10: the one element at `event` must be among the new ones
    ring = Ring(memory, 8)
    for event in range(start, start + 6):
        ring.avail_index = 0
        queue = serve(ring, event_idx=True)
        queue._next_used = start  # where 65,536 requests would have brought it
        ring.interrupt_at(event & 0xFFFF)
        first = queue.push([(0, 0), (1, 0)])
        second = queue.push([(2, 0)])
        assert (first, second) == (event - start < 2, event - start == 2)


# --- random rings


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
