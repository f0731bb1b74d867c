"""Split virtqueues as transcripts of a driver and a device: chains, indices, notifications."""

import pytest

from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from microhypervisor.virtio.constants import USED_NO_NOTIFY
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM
from tests.microhypervisor.ring import READ, WRITE, Ring
from tests.microhypervisor.virtio.conftest import ANY, BUFFER, heads, serve


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
