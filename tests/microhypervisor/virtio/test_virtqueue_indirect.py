"""Indirect descriptor tables: how they are walked, and which are faults."""

import pytest

from microhypervisor.errors import GuestFault
from microhypervisor.virtio.constants import DESC_NEXT
from tests.microhypervisor.conftest import LOW_RAM, ROM
from tests.microhypervisor.ring import INDIRECT, READ, WRITE
from tests.microhypervisor.virtio.conftest import ANY, BUFFER, TABLE


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
