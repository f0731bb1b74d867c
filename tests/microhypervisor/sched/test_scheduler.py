"""The scheduler with scripted vCPUs on real threads."""

import threading

import pytest

from microhypervisor.cpu.protocol import Stop
from microhypervisor.sched.accounting import State
from tests.microhypervisor.sched.scripted import (
    PATIENCE,
    Gauge,
    ScriptedVcpu,
    eventually,
)


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


@pytest.mark.parametrize(("pcpus", "vcpus"), [(1, 3), (2, 5)])
def test_so_many_run_at_once_and_everyone_gets_on(machine, pcpus, vcpus):
    gauge = Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(vcpus)]
    machine(pcpus).start(*cpus)
    eventually(lambda: all(cpu.laps >= 3 for cpu in cpus))
    assert gauge.peak == pcpus
    assert max(cpu.laps for cpu in cpus) <= 3 * min(cpu.laps for cpu in cpus)


def test_with_a_pcpu_for_each_all_run_and_stay(machine):
    gauge = Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(3)]
    tasks = machine(4).start(*cpus)
    eventually(lambda: gauge.now == 3)
    assert [task.account.state for task in tasks] == [State.RUNNING] * 3
    assert [cpu.laps for cpu in cpus] == [1, 1, 1]


def test_pause_returns_only_when_nobody_runs(machine):
    kicked, let_go = threading.Event(), threading.Event()

    def slow_to_leave(cpu):
        stop = cpu.spin()
        kicked.set()
        assert let_go.wait(PATIENCE)
        return stop

    m = machine(1)
    cpu = ScriptedVcpu(script=slow_to_leave)
    tasks = m.start(cpu)
    eventually(lambda: cpu.gauge.now)
    pausing = in_thread(m.scheduler.pause, tasks)
    assert kicked.wait(PATIENCE)
    assert pausing.is_alive()
    let_go.set()
    pausing.join(PATIENCE)
    assert not pausing.is_alive()
    assert cpu.gauge.now == 0
    eventually(lambda: tasks[0].account.state is State.PAUSED)


def test_pause_and_resume_a_hundred_times(machine):
    m, gauge = machine(2), Gauge()
    cpus = [ScriptedVcpu(i, gauge=gauge) for i in range(4)]
    tasks = m.start(*cpus)
    for _ in range(100):
        m.scheduler.pause(tasks)
        assert gauge.now == 0
        before = [cpu.laps for cpu in cpus]
        m.scheduler.pause(tasks)  # again is fine
        assert [cpu.laps for cpu in cpus] == before
        m.scheduler.resume(tasks)
        eventually(lambda: gauge.now == 2)
    assert gauge.peak == 2


def test_pausing_one_guest_leaves_its_pcpu_to_another(machine):
    m = machine(1)
    first, second = ScriptedVcpu(0), ScriptedVcpu(1)
    (task,) = m.start(first)
    eventually(lambda: first.gauge.now)
    m.start(second)
    m.scheduler.pause([task])
    eventually(lambda: second.gauge.now and second.laps >= 1)
    laps = first.laps
    m.scheduler.resume([task])
    eventually(lambda: first.laps > laps)


@pytest.fixture(params=[False, True], ids=["running", "parked"])
def blocked(machine, request):
    """A machine of one vCPU that waits for `answer`; `continued` tells that it went on."""
    m = machine(1)
    m.answer, m.continued, ready = threading.Event(), threading.Event(), threading.Event()

    def one_port_access(cpu):
        assert ready.wait(PATIENCE)
        if not m.continued.is_set():
            with m.scheduler.blocking(m.tasks[0]):
                assert m.answer.wait(PATIENCE)
            m.continued.set()
            cpu.awake = True
        return cpu.spin()

    cpu = ScriptedVcpu(0, one_port_access)
    cpu.awake = not request.param
    m.start(cpu, sleeps_inside=request.param)
    ready.set()
    eventually(lambda: m.tasks[0].account.state is State.BLOCKED)
    yield m
    m.answer.set()


def test_a_vcpu_that_waits_for_an_answer_gives_its_pcpu_to_another(blocked):
    other = ScriptedVcpu(1)
    blocked.start(other)
    eventually(lambda: other.gauge.now)
    assert not blocked.continued.is_set()
    blocked.answer.set()
    assert blocked.continued.wait(PATIENCE)  # the other had to give way
    blocked.scheduler.pause(blocked.tasks)  # nothing was booked twice or left parked
    assert other.gauge.now == 0


def test_pause_does_not_wait_for_one_that_waits_and_holds_it_when_the_answer_comes(blocked):
    (task,) = blocked.tasks
    blocked.scheduler.pause([task])
    blocked.answer.set()
    eventually(lambda: task.account.state is State.PAUSED)
    assert not blocked.continued.is_set()
    blocked.scheduler.resume([task])
    assert blocked.continued.wait(PATIENCE)


def test_a_paused_one_that_waits_may_be_resumed_before_its_answer(blocked):
    (task,) = blocked.tasks
    blocked.scheduler.pause([task])
    blocked.scheduler.resume([task])
    assert not blocked.continued.is_set()
    blocked.answer.set()
    assert blocked.continued.wait(PATIENCE)


def test_one_that_waits_ends_once_its_answer_is_there(blocked):
    (task,) = blocked.tasks
    blocked.scheduler.end([task])
    blocked.answer.set()
    task.thread.join(PATIENCE)
    assert task.account.state is State.ENDED


def test_a_vcpu_ends_its_own_guest(machine):
    m, gauge = machine(1), Gauge()

    def power_off(cpu):
        m.scheduler.end(m.tasks)
        return cpu.spin()

    other = ScriptedVcpu(1, gauge=gauge)
    m.start(other)
    eventually(lambda: gauge.now)
    m.start(ScriptedVcpu(0, power_off, gauge))
    for task in m.tasks:
        task.thread.join(PATIENCE)
    assert [task.account.state for task in m.tasks] == [State.ENDED] * 2


@pytest.mark.parametrize("stop", [Stop.TRIPLE_FAULT, Stop.FAILED])
def test_a_fault_is_told_once_without_a_pcpu(machine, stop):
    m = machine(1)
    (task,) = m.start(ScriptedVcpu(0, lambda _: stop))
    task.thread.join(PATIENCE)
    assert m.stops == [(task, stop)]
    other = ScriptedVcpu(1)
    m.start(other)
    eventually(lambda: other.gauge.now)


def halts(cpu):
    """Run once, then halt until somebody sets `awake`."""
    cpu.awake = False
    return Stop.HALTED


def wake(cpu):
    cpu.awake = True
    cpu.wake()


def test_a_halted_vcpu_runs_again_when_woken(machine):
    m, cpu = machine(1), ScriptedVcpu(0, halts)
    (task,) = m.start(cpu)
    for lap in range(1, 20):
        eventually(lambda: task.account.state is State.HALTED and not cpu.awake)
        assert cpu.laps == lap
        wake(cpu)
        eventually(lambda lap=lap: cpu.laps == lap + 1)


def test_a_wake_up_is_done_when_wake_comes_back(machine):
    m, cpu = machine(1), ScriptedVcpu(0, halts)
    (task,) = m.start(cpu)
    eventually(lambda: task.account.state is State.HALTED)
    let_go = threading.Event()

    def stubborn(cpu):
        assert let_go.wait(PATIENCE)
        return cpu.spin()

    m.start(worker := ScriptedVcpu(1, stubborn))
    eventually(lambda: worker.gauge.now)
    wake(cpu)
    assert task.account.state is State.READY  # by this thread: nobody else could have run it
    let_go.set()
    eventually(lambda: cpu.laps == 2)


def test_a_vcpu_that_wakes_has_a_free_pcpu_at_once(machine):
    m, cpu = machine(2), ScriptedVcpu(0, halts)
    (task,) = m.start(cpu)
    eventually(lambda: task.account.state is State.HALTED)
    held = threading.Event()
    cpu.script = lambda cpu: held.wait(PATIENCE) and halts(cpu)
    wake(cpu)
    assert task.account.state is State.RUNNING
    assert [pcpu.task for pcpu in m.scheduler.pcpus] == [task, None]
    held.set()


def test_wake_ups_are_counted_with_the_time_they_took(machine):
    m, cpu = machine(1), ScriptedVcpu(0, halts)
    (task,) = m.start(cpu)
    for lap in range(1, 20):
        eventually(lambda: task.account.state is State.HALTED)
        assert (task.account.wakes, task.account.switches) == (lap - 1, lap)
        wake(cpu)
        wake(cpu)  # awake already
        eventually(lambda lap=lap: cpu.laps == lap + 1)
    assert sum(task.account.wake_latency) == task.account.wakes


def test_an_interrupt_that_comes_while_it_is_halting_is_not_lost(machine):
    def interrupted(cpu):
        cpu.awake = False
        wake(cpu)  # after it decided to halt, before the scheduler heard of it
        return Stop.HALTED

    cpu = ScriptedVcpu(0, interrupted)
    machine(1).start(cpu)
    eventually(lambda: cpu.laps >= 100)


def test_a_halted_vcpu_can_be_paused_woken_and_resumed(machine):
    m, cpu = machine(1), ScriptedVcpu(0, halts)
    tasks = m.start(cpu)
    eventually(lambda: tasks[0].account.state is State.HALTED)
    m.scheduler.pause(tasks)
    wake(cpu)
    eventually(lambda: tasks[0].account.state is State.PAUSED)
    assert cpu.laps == 1
    m.scheduler.resume(tasks)
    eventually(lambda: cpu.laps == 2)


def test_one_that_waits_for_start_up_does_not_run_before(machine):
    cpu = ScriptedVcpu(1)
    cpu.awake = False
    (task,) = machine(1).start(cpu)
    eventually(lambda: task.account.state is State.HALTED)
    assert cpu.laps == 0
    wake(cpu)
    eventually(lambda: cpu.gauge.now)


def test_the_halted_and_the_paused_end_when_told(machine):
    m = machine(1)
    halted, paused = m.start(ScriptedVcpu(0, halts), ScriptedVcpu(1))
    m.scheduler.pause([paused])
    accounts = [halted.account, paused.account]
    eventually(lambda: [a.state for a in accounts] == [State.HALTED, State.PAUSED])
    m.close()
    assert [a.state for a in accounts] == [State.ENDED] * 2


def parked(index=0, script=None):
    """A vCPU that sleeps inside run(), as with an in-kernel interrupt controller."""
    cpu = ScriptedVcpu(index, script)
    cpu.awake = False
    return cpu


def test_a_parked_vcpu_sleeps_in_run_and_takes_no_pcpu(machine):
    m, sleeper, worker = machine(1), parked(0), ScriptedVcpu(1)
    (task,) = m.start(sleeper, sleeps_inside=True)
    eventually(lambda: sleeper.gauge.now)
    m.start(worker, sleeps_inside=True)
    eventually(lambda: worker.gauge.now)
    assert sleeper.gauge.now == 1
    assert task.account.state is State.HALTED


def test_pause_takes_a_parked_vcpu_out(machine):
    m, sleeper = machine(1), parked()
    tasks = m.start(sleeper, sleeps_inside=True)
    for lap in range(1, 20):
        eventually(lambda lap=lap: sleeper.gauge.now and sleeper.laps >= lap)
        m.scheduler.pause(tasks)
        assert sleeper.gauge.now == 0
        m.scheduler.resume(tasks)


def test_a_parked_vcpu_that_wakes_by_itself_queues_like_the_others(machine):
    interrupt = threading.Event()

    def sleep_then_work(cpu):
        if not cpu.awake:
            assert interrupt.wait(PATIENCE)
            cpu.awake = True
        while not cpu.take_kick():
            pass
        return Stop.KICKED

    m = machine(1)
    sleeper, worker = parked(0, sleep_then_work), ScriptedVcpu(1)
    (task,) = m.start(sleeper, sleeps_inside=True)
    eventually(lambda: sleeper.gauge.now and task.account.state is State.HALTED)
    m.start(worker, sleeps_inside=True)
    interrupt.set()
    eventually(lambda: sleeper.laps >= 3 and worker.laps >= 3)
    assert not task.parked
