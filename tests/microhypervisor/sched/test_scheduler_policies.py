"""Schedules and policies that change while scripted vCPUs run on real threads."""

import os
import threading
import time

import pytest

from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.limits import SLICE_NS
from microhypervisor.sched.accounting import State
from microhypervisor.sched.policy import Parameters
from microhypervisor.sched.scheduler import Scheduler
from tests.microhypervisor.sched.scripted import (
    PATIENCE,
    Gauge,
    Machine,
    ScriptedVcpu,
    eventually,
)
from tests.microhypervisor.sched.test_scheduler import halts, wake

POLICIES = ["credit", "deadline", "round_robin"]
MS = 1_000_000


def reserve(percent, **more):
    """So much of every 10 ms."""
    return {"budget_ns": percent * MS // 10, "period_ns": 10 * MS, **more}


HOME = {"affinity": frozenset({0})}


def laps(cpus):
    """Wait until each of them has run since now."""
    before = [cpu.laps for cpu in cpus]
    eventually(lambda: all(cpu.laps > lap for cpu, lap in zip(cpus, before, strict=True)))


@pytest.mark.parametrize("policy", POLICIES)
def test_under_every_policy_so_many_run_at_once_and_everyone_gets_on(machine, policy):
    gauge = Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(5)]
    machine(2, policy).start(*cpus)
    for _ in range(3):
        laps(cpus)
    assert gauge.peak == 2


def test_a_policy_takes_over_from_another_and_nobody_is_lost(machine):
    m, gauge, answer = machine(2), Gauge(), threading.Event()
    spinning = [ScriptedVcpu(i, gauge=gauge) for i in range(3)]
    halted, paused = ScriptedVcpu(3, halts, gauge), ScriptedVcpu(4, gauge=gauge)

    def waits_for_an_answer(cpu):
        cpu.script = ScriptedVcpu.spin
        with m.scheduler.blocking(tasks[5]):
            assert answer.wait(PATIENCE)
        return cpu.spin()

    blocked = ScriptedVcpu(5, waits_for_an_answer)  # inside run(), but running no guest code
    blocked.awake = False
    tasks = m.start(*spinning, halted, paused, blocked)
    wake(blocked)
    m.scheduler.pause([tasks[4]])
    states = {3: State.HALTED, 4: State.PAUSED, 5: State.BLOCKED}
    eventually(lambda: all(tasks[i].account.state is state for i, state in states.items()))
    for policy in (*POLICIES, *POLICIES):
        m.scheduler.set_policy(policy, SLICE_NS)
        assert m.scheduler.policy_name == policy
        laps(spinning)
        assert all(tasks[i].account.state is state for i, state in states.items())
        running = [p.task.vcpu for p in m.scheduler.pcpus if p.task]
        assert len(set(running)) == len(running)
    wake(halted)
    m.scheduler.resume([tasks[4]])
    answer.set()
    laps([*spinning, paused, blocked])
    assert halted.laps == 2
    assert gauge.peak == 2


def test_a_policy_that_changes_all_the_time_loses_nobody(machine):
    m, gauge = machine(2), Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(4)]
    sleepers = [ScriptedVcpu(i, halts, gauge) for i in (4, 5)]
    m.start(*cpus, *sleepers)
    begun = [cpu.laps for cpu in sleepers]
    for lap in range(150):
        m.scheduler.set_policy(POLICIES[lap % 3], SLICE_NS // 10)
        for cpu in sleepers:
            wake(cpu)
    laps(cpus)
    assert all(cpu.laps > lap for cpu, lap in zip(sleepers, begun, strict=True))
    assert gauge.peak == 2


def test_refused_policies_leave_the_old_one(machine):
    m = machine(1, "credit")
    cpus = [ScriptedVcpu(i) for i in range(2)]
    m.start(*cpus, **reserve(60))  # which credit does not promise
    known = "there are credit, deadline, round_robin"
    with pytest.raises(PeerFault, match=f"no scheduling policy 'dedline' .*{known}") as fault:
        m.scheduler.set_policy("dedline", 5)
    assert fault.value.refusal is Refusal.NOT_FOUND
    with pytest.raises(PeerFault, match=r"vCPU test/1: .*24\.0 % too much"):
        m.scheduler.set_policy("deadline", 5)
    assert (m.scheduler.policy_name, m.scheduler.slice_ns) == ("credit", SLICE_NS)
    laps(cpus)


def test_a_scheduler_with_a_policy_that_is_not_there_is_not_made():
    with pytest.raises(PeerFault, match="no scheduling policy 'x' is installed"):
        Scheduler([0], "x", SLICE_NS)


def test_if_one_vcpu_does_not_fit_all_keep_their_schedules(machine):
    m = machine(1, "deadline")
    cpus = [ScriptedVcpu(i) for i in range(3)]
    tasks = m.start(*cpus, **reserve(30))
    before = tasks[0].parameters
    with pytest.raises(PeerFault, match=r"vCPU test/0: .*6\.0 % too much"):
        m.scheduler.set_parameters(tasks, Parameters(**reserve(40)))
    assert [task.parameters for task in tasks] == [before] * 3
    m.scheduler.set_parameters(tasks[1:2], Parameters(**reserve(34)))  # the 4 % are still free
    laps(cpus)


def test_a_refusal_undoes_nothing_because_nothing_was_done(machine):
    """One after the other, the first three would move about, and not all find their way back."""
    m = machine(2, "deadline")
    cpus = [ScriptedVcpu(i) for i in range(4)]
    tasks = []
    for cpu, percent in zip(cpus, (88, 28, 3, 58), strict=True):  # and 2 % for the switches of each
        tasks += m.start(cpu, **reserve(percent))
    before = [task.parameters for task in tasks]
    with pytest.raises(PeerFault, match="too much"):
        m.scheduler.set_parameters(tasks[:3], Parameters(**reserve(48)))
    assert [task.parameters for task in tasks] == before
    for task, parameters in zip(tasks, before, strict=True):
        m.scheduler.set_parameters([task], parameters)
    laps(cpus)


def test_a_budget_is_the_guests_and_its_switch_comes_on_top(machine):
    m = machine(1, "deadline")
    m.start(ScriptedVcpu(0), **reserve(50))
    with pytest.raises(PeerFault, match=r"takes 50\.1 % .* gap is 48\.0 %"):
        m.start(ScriptedVcpu(1), budget_ns=4_810_000, period_ns=10 * MS)


def test_a_guest_of_which_one_vcpu_does_not_fit_is_not_known_at_all(machine):
    m = machine(1, "deadline")
    with pytest.raises(PeerFault, match=r"vCPU test/1: .*24\.0 % too much"):
        m.start(ScriptedVcpu(0), ScriptedVcpu(1), **reserve(60))
    cpu = ScriptedVcpu(0)
    m.start(cpu, **reserve(100))  # nothing is taken
    eventually(lambda: cpu.gauge.now)


@pytest.mark.parametrize("policy", POLICIES)
def test_values_that_no_vcpu_can_have_are_refused(machine, policy):
    m = machine(2, policy)
    cpu = ScriptedVcpu(0)
    tasks = m.start(cpu)
    for wrong in ({"weight": 0}, {"cap": 101}, {"affinity": frozenset({2})}, {"budget_ns": MS}):
        with pytest.raises(PeerFault, match="vCPU test/0: "):
            m.scheduler.set_parameters(tasks, Parameters(**wrong))
    assert tasks[0].parameters == Parameters()
    eventually(lambda: cpu.gauge.now)


def noting_places(task_of, places):
    """A script that notes the pCPU and the host CPUs that its thread may run on."""

    def script(cpu):
        task = task_of(cpu)
        places.append((task.pcpu.index, os.sched_getaffinity(0)))
        return cpu.spin()

    return script


@pytest.mark.parametrize("policy", POLICIES)
def test_a_vcpu_runs_on_its_pcpus_and_its_thread_on_their_host_cpus(machine, policy):
    m, places = machine(2, policy), []
    hosts = [{pcpu.host_cpu} for pcpu in m.scheduler.pcpus]
    bound = ScriptedVcpu(0, noting_places(lambda _: m.tasks[-1], places))
    others = [ScriptedVcpu(i) for i in (1, 2)]
    m.start(*others)
    (task,) = m.start(bound, affinity=frozenset({1}))
    eventually(lambda: len(places) >= 3)
    m.scheduler.set_parameters([task], Parameters(affinity=frozenset({0})))
    eventually(lambda: places[-1][0] == 0)
    moved = [pcpu for pcpu, _ in places].index(0)
    laps([bound, *others])
    m.scheduler.pause([task])
    assert [pcpu for pcpu, _ in places] == [1] * moved + [0] * (len(places) - moved)
    assert all(affinity == hosts[pcpu] for pcpu, affinity in places)


def test_a_cpu_that_the_host_takes_away_stops_nobody():
    m = Machine(Scheduler([1 << 20], "round_robin", SLICE_NS))
    cpus = [ScriptedVcpu(i) for i in range(2)]
    m.start(*cpus)
    laps(cpus)
    m.close()


def test_affinity_leaves_a_pcpu_idle_rather_than_run_there_who_may_not(machine):
    m, gauge = machine(2), Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(3)]
    tasks = m.start(*cpus, **HOME)
    laps(cpus)
    assert gauge.peak == 1
    assert m.scheduler.pcpus[1].switches == 0
    m.scheduler.set_parameters(tasks, Parameters())
    laps(cpus)
    assert gauge.peak == 2


def test_times_add_up_to_the_age_and_to_the_time_of_the_pcpus(machine):
    m, before = machine(2), time.monotonic_ns()
    cpus = [ScriptedVcpu(i, halts if i == 3 else None) for i in range(4)]
    tasks = m.start(*cpus)
    known = time.monotonic_ns()
    laps(cpus[:3])
    m.scheduler.set_policy("credit", SLICE_NS)
    laps(cpus[:3])
    m.scheduler.pause(tasks)
    now = time.monotonic_ns()
    for task in tasks:
        assert now - known <= sum(task.account.spent(state, now) for state in State) <= now - before
    run = sum(task.account.spent(State.RUNNING, now) for task in tasks)
    assert run == sum(pcpu.busy_ns for pcpu in m.scheduler.pcpus)
    assert sum(t.account.switches for t in tasks) == sum(p.switches for p in m.scheduler.pcpus)
