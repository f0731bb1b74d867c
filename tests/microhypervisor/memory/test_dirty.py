"""The core's own writes into guest memory are told as dirty pages."""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microhypervisor.memory.ram import PAGE, DirtyPages
from microhypervisor.memory.window import GrantWindow
from microhypervisor.virtio.constants import F_EVENT_IDX
from protos import io_pb2
from tests.microhypervisor.conftest import HIGH_RAM, LOW_RAM, ROM
from tests.microhypervisor.ring import READ, WRITE, Ring
from tests.microhypervisor.virtio.conftest import ANY, BUFFER, serve
from tests.sessions.service import DATA, Rig, described

PAGES = 100


def numbers(bitmap):
    return {n for n in range(8 * len(bitmap)) if bitmap[n >> 3] & 1 << (n & 7)}


@pytest.fixture
def often():
    """Have threads switch at every chance."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@given(st.lists(st.tuples(st.integers(0, PAGES * PAGE - 1), st.integers(1, 3 * PAGE))))
def test_every_page_that_is_touched_is_told_once(writes):
    dirty = DirtyPages(PAGES)
    touched = set()
    for place, wanted in writes:
        length = min(wanted, PAGES * PAGE - place)
        dirty.mark(place, length)
        touched |= set(range(place // PAGE, (place + length - 1) // PAGE + 1))
    assert numbers(dirty.take()) == touched
    assert numbers(dirty.take()) == set()


@pytest.mark.usefixtures("often")
def test_those_who_mark_at_once_lose_nothing():
    """Eight threads, each with one page of every eight, so that all share every byte."""
    dirty = DirtyPages(8000)
    ready = threading.Barrier(8)

    def mark(first):
        ready.wait()
        for page in range(first, 8000, 8):
            dirty.mark(page * PAGE, 1)

    threads = [threading.Thread(target=mark, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    told = set()
    while any(thread.is_alive() for thread in threads):
        told |= numbers(dirty.take())
    assert told | numbers(dirty.take()) == set(range(8000))


def test_loading_and_releasing_are_writes(memory):
    memory.load(0, b"x" * 8 * PAGE)
    assert numbers(memory.take_dirty()) == set()
    memory.track_dirty(True)
    memory.load(PAGE - 1, b"xx")
    memory.load(ROM, b"x")
    memory.load(HIGH_RAM, b"x")
    rom = LOW_RAM // PAGE
    assert numbers(memory.take_dirty()) == {0, 1, rom, rom + 1}
    memory.release(2 * PAGE, 3 * PAGE)
    memory.release(ROM, PAGE)
    assert numbers(memory.take_dirty()) == {2, 3, 4}
    memory.load(0, b"x")
    memory.track_dirty(True)
    assert numbers(memory.take_dirty()) == set()
    memory.track_dirty(False)
    memory.load(0, b"x")
    assert numbers(memory.take_dirty()) == set()
    assert len(memory.take_dirty()) == -(-memory.size // PAGE // 8)


@pytest.mark.parametrize("features", [0, F_EVENT_IDX])
def test_a_used_ring_is_dirty_when_the_device_writes_it(memory, features):
    ring = Ring(memory, 8)
    queue = serve(ring, bool(features))
    ring.chain(0, (READ, BUFFER, 1), (WRITE, BUFFER, 1))
    ring.offer(0)
    memory.track_dirty(True)
    copy = bytes(memory.view)

    def told():
        nonlocal copy
        now = bytes(memory.view)
        dirty = numbers(memory.take_dirty())
        changed = {n for n in range(len(now) // PAGE) if page(now, n) != page(copy, n)}
        copy = now
        assert changed <= dirty
        return dirty

    used = {ring.used // PAGE}
    queue.pop(ANY)
    assert told() == set()
    queue.silence()
    assert told() == (set() if features else used)
    queue.push([(0, 1)])
    assert told() == used
    queue.listen()
    assert told() == used


def page(data, number):
    return data[number * PAGE : (number + 1) * PAGE]


def test_what_a_completion_wrote_is_dirty(memory):
    rig = Rig(memory)
    rig.device.adopt(described())
    rig.device.begin_epoch()
    rig.start()
    while rig.device.next_control():
        pass
    window = GrantWindow("g/disk", 16, 1 << 16)
    rig.submit(0, buffers=[(0, DATA, 16), (WRITE, 0x20000, 0x1001), (WRITE, 0x30000, 1)])
    memory.track_dirty(True)
    (entry,) = rig.device.collect()
    window.offer(entry.slot, memory.view, entry.readable, entry.writable_bytes)
    memory.take_dirty()
    done = io_pb2.Completion(slot=entry.slot, generation=entry.generation, written=0x1002)
    rig.device.accept(io_pb2.Completions(epoch=1, completions=[done]), 1, window)
    told = numbers(memory.take_dirty())
    assert {0x20, 0x21, 0x30} < told
    assert len(told) == 4  # and the used ring
    window.close()
    rig.close()
