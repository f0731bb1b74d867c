"""Calls that schedule, on a real core process with two pCPUs and guests that spin."""

import os

import pytest

from protos import core_pb2 as pb
from tests.control.calls import Code, names, refused
from tests.microhypervisor import core as guests
from tests.microhypervisor.core import PATIENCE, until

MS = 1_000_000
POLICIES = ["credit", "deadline", "round_robin"]


def describe(core):
    return core.stub.DescribeScheduler(pb.SchedulerRequest(), timeout=PATIENCE)


def set_policy(core, policy="", slice_ns=0):
    request = pb.PolicyConfig(policy=policy, slice_ns=slice_ns)
    return core.stub.SetPolicy(request, timeout=PATIENCE)


def set_schedule(core, guest, vcpu=None, **schedule):
    request = pb.ScheduleRequest(guest=guest, vcpu=vcpu, schedule=pb.Schedule(**schedule))
    return core.stub.SetSchedule(request, timeout=PATIENCE)


def schedules(status):
    return [vcpu.schedule for vcpu in status.vcpus]


@pytest.fixture
def core(shared_core):
    """It is scheduled afterwards as before."""
    before = describe(shared_core)
    yield shared_core
    set_policy(shared_core, before.policy, before.slice_ns)


@pytest.fixture
def spinners(core, cpu):
    """Three guests that spin on two pCPUs."""
    three = [next(names) for _ in range(3)]
    for name in three:
        core.create(name, cpu, guests.SPINS)
        core.call("Start", name)
    yield three
    for name in three:
        core.call("Destroy", name)


def go_on(core, spinners):
    """Each of them has run since now."""
    before = {name: core.status(name).vcpus[0].exits for name in spinners}
    for name in spinners:
        while core.status(name).vcpus[0].exits <= before[name]:
            pass


def test_the_scheduler_as_it_was_started(shared_core):
    found = describe(shared_core)
    host = sorted(os.sched_getaffinity(0))
    assert (found.policy, found.slice_ns) == ("credit", 10 * MS)
    assert set(found.policies) >= set(POLICIES)
    assert [(p.index, p.host_cpu) for p in found.pcpus] == [(0, host[0]), (1, host[-1])]
    assert [pcpu.running for pcpu in found.pcpus] == ["", ""]


def test_pcpus_tell_who_runs_there(core, spinners):
    before, seen = describe(core), set()
    while not seen >= {f"{name}/0" for name in spinners}:
        after = describe(core)
        seen |= {pcpu.running for pcpu in after.pcpus}
    assert seen <= {"", *(f"{name}/0" for name in spinners)}
    for old, new in zip(before.pcpus, after.pcpus, strict=True):
        assert new.busy_ns > old.busy_ns
        assert new.switches >= old.switches
    assert sum(new.switches for new in after.pcpus) > 3  # each of the three, and again


def test_every_policy_goes_on_with_who_runs_waits_halts_or_is_paused(core, spinners, cpu):
    halted = next(names)
    core.create(halted, cpu, guests.HALTS)
    core.call("Start", halted)
    core.call("Pause", spinners[0])
    for policy in (*POLICIES, *POLICIES):
        before = {name: core.status(name).vcpus[0] for name in (*spinners, halted)}
        assert set_policy(core, policy).policy == describe(core).policy == policy
        go_on(core, spinners[1:])
        core.call("Resume", spinners[0])
        go_on(core, spinners)
        core.call("Pause", spinners[0])
        for name in spinners:  # accounts go on
            after = core.status(name).vcpus[0]
            assert after.run_ns > before[name].run_ns
            assert after.switches >= before[name].switches
        assert core.status(halted).vcpus[0].state == "halted"
    assert core.status(halted).vcpus[0].switches == 1
    core.call("Resume", spinners[0])
    core.call("Destroy", halted)


def test_what_is_left_out_of_a_policy_stays(core):
    events = core.watch()
    assert set_policy(core, slice_ns=MS // 2).policy == "credit"
    assert set_policy(core, "round_robin").slice_ns == MS // 2
    changes = [until(events, pb.EVENT_POLICY_CHANGED).text for _ in range(2)]
    assert changes == ["credit", "round_robin"]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"policy": "dedline"}, Code.NOT_FOUND, ("'dedline'", *POLICIES)),
        ({"slice_ns": MS // 2 - 1}, Code.INVALID_ARGUMENT, ("499999 ns", "500000")),
        ({"slice_ns": (1 << 64) - 1}, Code.INVALID_ARGUMENT, ("give 500000 to 10000000000",)),
        ({"policy": "deadline", "slice_ns": 1}, Code.INVALID_ARGUMENT, ("slice of 1 ns",)),
    ],
    ids=["name", "short slice", "long slice", "both"],
)
def test_a_refused_policy_changes_nothing(core, spinners, request_, code, words):
    before = describe(core)
    with refused(code, *words):
        set_policy(core, **request_)
    after = describe(core)
    assert (after.policy, after.slice_ns) == (before.policy, before.slice_ns)
    go_on(core, spinners)


def test_a_policy_under_which_a_reservation_does_not_fit_is_refused(core, spinners):
    reservation = {"budget_ns": 6 * MS, "period_ns": 10 * MS, "affinity": [0]}
    for name in spinners[:2]:  # credit promises nothing, so it takes both
        set_schedule(core, name, **reservation)
    with refused(Code.INVALID_ARGUMENT, "62.0 % of a pCPU", "24.0 % too much"):
        set_policy(core, "deadline")
    assert describe(core).policy == "credit"
    go_on(core, spinners)
    set_schedule(core, spinners[1])
    assert set_policy(core, "deadline").policy == "deadline"
    with refused(Code.INVALID_ARGUMENT, f"vCPU {spinners[1]}/0", "24.0 % too much"):
        set_schedule(core, spinners[1], **reservation)
    go_on(core, spinners)
    config = core.config("late", "emulated", schedule=pb.Schedule(**reservation))
    with refused(Code.INVALID_ARGUMENT, "vCPU late/0", "24.0 % too much"):
        core.stub.CreateGuest(config)
    assert "late" not in [g.name for g in core.stub.ListGuests(pb.ListRequest()).guests]


def test_a_schedule_for_all_vcpus_or_one(core, name, cpu):
    core.create(name, cpu, guests.SPINS, vcpus=3)
    said = {"weight": 512, "cap": 50, "budget_ns": MS, "period_ns": 10 * MS, "affinity": [0, 1]}
    assert schedules(set_schedule(core, name, **said)) == [pb.Schedule(**said)] * 3
    events = core.watch()
    usual = pb.Schedule(weight=256)  # what is left out gets its default
    first, second, third = schedules(set_schedule(core, name, 1))
    assert (first, second, third) == (pb.Schedule(**said), usual, pb.Schedule(**said))
    changed = until(events, pb.EVENT_SCHEDULE_CHANGED, name)
    assert [vcpu.schedule.weight for vcpu in changed.vcpus] == [512, 256, 512]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"weight": 65536}, "weight 65536: give 1 to 65535"),
        ({"cap": 101}, "cap 101"),
        ({"budget_ns": MS}, "give a period too"),
        ({"period_ns": MS}, "give a budget too"),
        ({"budget_ns": 11 * MS, "period_ns": 10 * MS}, "budget 11000000 ns"),
        ({"budget_ns": (1 << 64) - 1, "period_ns": (1 << 64) - 1}, "period 18446744073709551615"),
        ({"affinity": [0, 2]}, "there is no pCPU 2: give 0 to 1"),
        ({"affinity": [(1 << 32) - 1]}, "there is no pCPU 4294967295"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_values_that_no_vcpu_can_have_are_refused_and_change_nothing(core, name, schedule, words):
    core.create(name, "emulated", guests.SPINS, vcpus=2)
    before = schedules(set_schedule(core, name, weight=512, cap=50))
    with refused(Code.INVALID_ARGUMENT, f"vCPU {name}/0: ", words):
        set_schedule(core, name, **schedule)
    with refused(Code.INVALID_ARGUMENT, f"vCPU {name}/1: ", words):
        set_schedule(core, name, 1, **schedule)
    assert schedules(core.status(name)) == before
    other = core.config("late", "emulated", schedule=pb.Schedule(**schedule))
    with refused(Code.INVALID_ARGUMENT, "vCPU late/0: ", words):
        core.stub.CreateGuest(other)


def test_wrong_guests_and_vcpus_are_named(core, name):
    core.create(name, "emulated", guests.SPINS, vcpus=2)
    with refused(Code.NOT_FOUND, "no guest is named nobody"):
        set_schedule(core, "nobody", weight=5)
    for vcpu in (2, (1 << 32) - 1):
        with refused(Code.INVALID_ARGUMENT, f"guest {name} has no vCPU {vcpu}: it has 2"):
            set_schedule(core, name, vcpu, weight=5)


def test_if_one_vcpu_does_not_fit_none_is_changed(core, name, cpu):
    set_policy(core, "deadline")
    core.create(name, cpu, guests.SPINS, vcpus=2)
    core.call("Start", name)
    before = schedules(set_schedule(core, name, budget_ns=4 * MS, period_ns=10 * MS, affinity=[0]))
    with refused(Code.INVALID_ARGUMENT, f"vCPU {name}/0", "4.0 % too much"):
        set_schedule(core, name, budget_ns=6 * MS, period_ns=10 * MS, affinity=[0])
    assert schedules(core.status(name)) == before
    set_schedule(core, name, 1, budget_ns=5 * MS, period_ns=10 * MS, affinity=[0])  # is still free
    go_on(core, [name])


def test_a_guest_can_be_scheduled_from_its_creation_to_its_end(core, name):
    core.create(name, "emulated", guests.exits(0))
    set_schedule(core, name, cap=10)
    events = core.watch()
    core.call("Start", name)
    until(events, pb.EVENT_GUEST_ENDED, name)
    with refused(Code.FAILED_PRECONDITION, f"vCPU {name}/0 has ended"):
        set_schedule(core, name, cap=20)


def test_a_balloon_that_is_not_there_is_no_wrong_name(core, name):
    core.create(name, "emulated", guests.SPINS)
    with refused(Code.FAILED_PRECONDITION, f"guest {name} has no balloon: start it with one"):
        core.stub.SetBalloon(pb.BalloonRequest(guest=name, target=2 << 20))
    with refused(Code.NOT_FOUND, "nobody"):
        core.stub.SetBalloon(pb.BalloonRequest(guest="nobody", target=2 << 20))
