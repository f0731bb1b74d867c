"""Where the time of vCPUs went, asked for and as it is told, by a real core process."""

import itertools
import time

import pytest

from protos import core_pb2 as pb
from tests.control.calls import names
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import PATIENCE, until

MS = 1_000_000
S = 1000 * MS


def age(vcpu):
    return vcpu.run_ns + vcpu.wait_ns + vcpu.halted_ns + vcpu.blocked_ns + vcpu.paused_ns


def clocked(call):
    """The clock before, what the call gave, and the clock after."""
    return time.monotonic_ns(), call(), time.monotonic_ns()


def run_for(core, name, wanted):
    """Until its first vCPU has run for that many nanoseconds."""
    while core.status(name).vcpus[0].run_ns < wanted:
        pass


@pytest.fixture
def spinner(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.SPINS, vcpus=2)
    shared_core.call("Start", name)
    return name


def test_the_times_of_a_vcpu_add_up_to_its_age(shared_core, name, cpu):
    born, _, known = clocked(lambda: shared_core.create(name, cpu, guests.SPINS, vcpus=2))
    shared_core.call("Start", name)
    others = [next(names) for _ in range(3)]
    for other in others:  # so that it waits, too
        shared_core.create(other, cpu, guests.SPINS)
        shared_core.call("Start", other)
    run_for(shared_core, name, 20 * MS)
    shared_core.call("Pause", name)
    shared_core.call("Resume", name)
    while shared_core.status(name).vcpus[0].switches < 3:
        pass
    asked, status, answered = clocked(lambda: shared_core.status(name))
    for vcpu in status.vcpus:
        assert asked - known < age(vcpu) < answered - born
    for other in others:
        shared_core.call("Destroy", other)
    spins, waits = status.vcpus
    assert min(spins.run_ns, spins.wait_ns, spins.paused_ns) > 0
    assert (spins.halted_ns, waits.run_ns, waits.switches) == (0, 0, 0)
    assert waits.state == "halted"  # for its start-up interrupt
    assert not waits.HasField("pcpu")
    assert spins.pcpu in (0, 1)


def test_a_paused_vcpu_gets_older_without_running(shared_core, spinner):
    run_for(shared_core, spinner, MS)
    before = shared_core.call("Pause", spinner).vcpus[0]
    after = shared_core.status(spinner).vcpus[0]
    assert after.state == "paused"
    while (later := shared_core.status(spinner).vcpus[0]).paused_ns < after.paused_ns + 5 * MS:
        pass
    assert (later.run_ns, later.exits) == (before.run_ns, before.exits)
    assert age(later) - age(after) == later.paused_ns - after.paused_ns


def test_exits_are_told_by_reason(shared_core, spinner):
    run_for(shared_core, spinner, MS)
    while not shared_core.status(spinner).vcpus[0].exits_by_reason["port"]:
        pass
    vcpu = shared_core.call("Pause", spinner).vcpus[0]
    assert sum(vcpu.exits_by_reason.values()) == vcpu.exits
    assert {"port", "mmio", "kick"} <= set(vcpu.exits_by_reason)


def test_a_halted_vcpu_takes_no_time_of_a_pcpu(shared_core, name, cpu):
    shared_core.create(name, cpu, guests.HALTS)
    shared_core.call("Start", name)
    while shared_core.status(name).vcpus[0].state != "halted":
        pass
    before = shared_core.status(name).vcpus[0]
    while (after := shared_core.status(name).vcpus[0]).halted_ns < before.halted_ns + 20 * MS:
        pass
    assert (after.run_ns, after.switches, after.exits) == (before.run_ns, 1, before.exits)
    assert (after.wakes, sum(after.wake_latency)) == (0, 0)


def test_the_last_word_on_a_guest_is_told_with_its_end(shared_core, name, cpu):
    end = shared_core.run(name, cpu, guests.COUNTS, vcpus=2)
    assert [vcpu.state for vcpu in end.vcpus] == ["ended", "ended"]
    assert end.vcpus[0].run_ns > 0
    assert end.vcpus[0].exits_by_reason["port"] == 1
    first, second = (shared_core.status(name).vcpus[0] for _ in range(2))
    assert age(first) == age(second) == age(end.vcpus[0])  # it does not get older


def accounts(core, period_ms, span_ns):
    """What is told in that time, from the first account on."""
    request = pb.WatchRequest(accounting_ms=period_ms)
    events = core.stub.WatchEvents(request, timeout=PATIENCE)
    told = (event for event in events if event.kind == pb.EVENT_ACCOUNTING)
    first = next(told)
    end = first.monotonic_ns + span_ns
    found = [first, *itertools.takewhile(lambda event: event.monotonic_ns < end, told)]
    events.cancel()
    return found


@pytest.mark.parametrize(("period_ms", "most"), [(50, 30), (1, 150)], ids=["50 ms", "too often"])
def test_accounts_come_for_each_guest_at_about_the_rate_that_was_asked_for(
    shared_core, spinner, cpu, period_ms, most
):
    halted = next(names)
    shared_core.create(halted, cpu, guests.HALTS)
    shared_core.call("Start", halted)
    told = accounts(shared_core, period_ms, S)
    for name in (spinner, halted):
        mine = [event for event in told if event.guest == name]
        assert 5 <= len(mine) <= most  # in a second; a loaded machine may be late
        ages = [age(event.vcpus[0]) for event in mine]
        assert ages == sorted(ages)
        assert all(not event.device and not event.text for event in mine)
    spins = [event.vcpus[0].run_ns for event in told if event.guest == spinner]
    assert spins[-1] > spins[0]
    assert [vcpu.index for vcpu in told[0].vcpus] == list(range(len(told[0].vcpus)))
    shared_core.call("Destroy", halted)


def test_who_asks_for_no_accounts_gets_none(shared_core, spinner):
    with_accounts = shared_core.stub.WatchEvents(
        pb.WatchRequest(accounting_ms=10), timeout=PATIENCE
    )
    without = shared_core.watch()
    for _ in range(10):
        until(with_accounts, pb.EVENT_ACCOUNTING, spinner)
    shared_core.call("Pause", spinner)
    assert next(without).kind == pb.EVENT_GUEST_PAUSED
    assert until(with_accounts, pb.EVENT_GUEST_PAUSED, spinner)
    with_accounts.cancel()
