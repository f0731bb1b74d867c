"""Dirty pages through gRPC: exactly those that tiny guests wrote, on both CPUs."""

import pytest

from protos import core_pb2 as pb
from tests.control.calls import Code, refused
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import ENTRY, MIB, PATIENCE, code, until

HIGH = 16 * MIB
REGIONS = [pb.Region(base=0, size=4 * MIB), pb.Region(base=HIGH, size=MIB)]
WRITES = code(
    """C705 00000200 01000000   ; movl $1,0x20000
       C605 FF0F0300 01         ; movb $1,0x30fff
       66C705 FF1F0300 0100     ; movw $1,0x31fff: two pages
       A1 00000400              ; mov 0x40000,%eax
       C705 00300001 01000000   ; movl $1,0x1003000
       31C0 E7F4 F4             ; xor %eax,%eax; out %eax,$0xf4; hlt"""
)
WRITTEN = {0x20000, 0x30000, 0x31000, 0x32000, HIGH + 0x3000}
COUNTS_FOR_EVER = code("FF05 00200000 E680 EBF6 ; incl 0x2000; out %al,$0x80; jmp")


def track(core, name, on=True):
    return core.stub.TrackDirty(pb.TrackDirtyRequest(guest=name, on=on), timeout=PATIENCE)


def take(core, name):
    """The addresses of the pages that are told."""
    reply = core.stub.TakeDirty(pb.GuestRef(name=name), timeout=PATIENCE)
    found = set()
    for region in reply.regions:
        assert len(region.bitmap) == region.size // 4096 // 8
        pages = int.from_bytes(region.bitmap, "little")
        found |= {region.base + 4096 * n for n in range(pages.bit_length()) if pages >> n & 1}
    return found


def test_exactly_the_pages_that_a_guest_wrote_are_told_once(shared_core, name, cpu):
    shared_core.create(name, cpu, WRITES, regions=REGIONS)
    assert not shared_core.status(name).dirty_tracking
    assert track(shared_core, name).dirty_tracking
    events = shared_core.watch()
    shared_core.call("Start", name)
    assert until(events, pb.EVENT_GUEST_ENDED, name).exit_status == 0
    assert take(shared_core, name) == WRITTEN
    assert take(shared_core, name) == set()
    reply = shared_core.stub.TakeDirty(pb.GuestRef(name=name))
    assert [(r.base, r.size) for r in reply.regions] == [(0, 4 * MIB), (HIGH, MIB)]


def test_what_the_core_loads_is_told_too(shared_core, name, cpu):
    shared_core.create(name, cpu, WRITES, regions=REGIONS)
    track(shared_core, name)
    shared_core.load(name, (0x5FFF, b"xy"), (HIGH + MIB - 1, b"z"))
    assert take(shared_core, name) == {0x5000, 0x6000, HIGH + MIB - 4096}
    track(shared_core, name)
    shared_core.load(name, (ENTRY, b"\x90"))
    track(shared_core, name)  # turned on again, it begins anew
    assert take(shared_core, name) == set()


def test_a_page_that_is_written_again_and_again_is_told_again_and_again(shared_core, name, cpu):
    shared_core.create(name, cpu, COUNTS_FOR_EVER)
    shared_core.call("Start", name)
    track(shared_core, name)
    for _ in range(3):
        while not (told := take(shared_core, name)):
            pass
        assert told == {0x2000}
    shared_core.call("Pause", name)
    assert take(shared_core, name) <= {0x2000}
    assert take(shared_core, name) == set()
    shared_core.call("Resume", name)
    while take(shared_core, name) != {0x2000}:
        pass


def test_without_tracking_there_is_nothing_to_take(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.SPINS)
    with refused(Code.FAILED_PRECONDITION, f"guest {name} are not tracked: turn that on first"):
        take(shared_core, name)
    track(shared_core, name)
    assert take(shared_core, name) == set()
    assert not track(shared_core, name, on=False).dirty_tracking
    with refused(Code.FAILED_PRECONDITION, "not tracked"):
        take(shared_core, name)


@pytest.mark.parametrize("call", [track, take])
def test_an_unknown_guest_is_not_found(shared_core, call):
    with refused(Code.NOT_FOUND, "no guest is named nobody"):
        call(shared_core, "nobody")
