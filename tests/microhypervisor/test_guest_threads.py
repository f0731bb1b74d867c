"""A guest in this process, so that what the host does not give can be missing."""

import os
import threading

import pytest

from cpus.emulated.complex import EmulatedComplex
from microhypervisor.build import build
from microhypervisor.cpu.protocol import Registers
from microhypervisor.errors import EnvironmentFault
from microhypervisor.events import EventLog
from microhypervisor.lifecycle import GuestState
from microhypervisor.limits import SLICE_NS
from microhypervisor.memory.ram import RegionKind, lay_out
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.scheduler import Scheduler
from protos import core_pb2 as pb
from sessions.directory import ServiceDirectory
from tests.microhypervisor.core import ENTRY, FAULTS, MIB, POWER, SPINS
from tests.microhypervisor.sched.scripted import eventually


@pytest.fixture
def guest():
    """Two vCPUs, of which the second waits to be started."""
    events = EventLog()
    scheduler = Scheduler([min(os.sched_getaffinity(0))], "credit", SLICE_NS)
    config = pb.GuestConfig(name="tiny", vcpus=2, power_ports=POWER)
    return build(
        config,
        EmulatedComplex,
        lay_out([(RegionKind.RAM, 0, MIB)]),
        Registers(rip=ENTRY, rsp=ENTRY, cr0=1),
        Parameters(),
        scheduler,
        ServiceDirectory(events),
        events,
    )


@pytest.mark.parametrize("missing", ["vcpu tiny/1", "reaper tiny"])
def test_a_guest_that_gets_too_few_threads_has_ended_when_it_says_so(guest, monkeypatch, missing):
    start, first = threading.Thread.start, guest.tasks[0]

    def limited(thread):
        if thread.name == missing:
            eventually(lambda: first.vcpu.exits["port"])  # it executes code of the guest
            raise RuntimeError("can't start new thread")
        start(thread)

    guest.load(ENTRY, SPINS)
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(
        EnvironmentFault, match=r"can't start new thread.*raise the limit"
    ) as raised:
        guest.start()
    assert "\n" not in str(raised.value)
    assert not first.thread.is_alive()
    assert guest.state is GuestState.ENDED
    assert guest.end.report == str(raised.value)
    guest.stop()
    guest.destroy()


def test_a_fault_whose_registers_cannot_be_read_ends_the_guest_all_the_same(guest, monkeypatch):
    def fail():
        raise OSError(9, "of two\nlines")

    guest.load(ENTRY, FAULTS)
    monkeypatch.setattr(guest.tasks[0].vcpu, "report", fail)
    guest.start()
    eventually(lambda: guest.state is GuestState.ENDED)
    assert guest.end.reason == pb.END_TRIPLE_FAULT
    assert guest.end.report.startswith("vCPU 0: triple fault; no registers, for OSError(9")
    assert "\n" not in guest.end.report
    guest.destroy()
