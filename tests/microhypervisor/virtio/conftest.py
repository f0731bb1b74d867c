"""Both ends of one split virtqueue: the driver's ring and the device that serves it."""

import pytest

from microhypervisor.limits import MAX_QUEUE_SIZE
from microhypervisor.virtio.virtqueue import Virtqueue
from tests.microhypervisor.ring import Ring

BUFFER = 0x40000
TABLE = 0x30000
ANY = MAX_QUEUE_SIZE


def serve(ring, event_idx=False):
    """The device's side of `ring`, enabled."""
    queue = Virtqueue(ring.memory, 0, MAX_QUEUE_SIZE)
    queue.enable(ring.size, ring.desc, ring.avail, ring.used, event_idx)
    return queue


def heads(chains):
    return [chain.head for chain in chains]


@pytest.fixture
def ring(memory):
    return Ring(memory, 8)


@pytest.fixture
def queue(ring):
    queue = serve(ring)
    yield queue
    queue.disable()
