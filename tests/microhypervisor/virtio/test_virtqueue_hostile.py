"""What a guest may not put into a ring, each a fault, and what just about is none."""

import pytest

from microhypervisor.errors import GuestFault
from microhypervisor.limits import MAX_CHAIN_BYTES, MAX_QUEUE_SIZE
from microhypervisor.virtio.constants import DESC_NEXT
from microhypervisor.virtio.virtqueue import Virtqueue
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM
from tests.microhypervisor.ring import READ, WRITE, Ring
from tests.microhypervisor.virtio.conftest import ANY, BUFFER, heads, serve


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
