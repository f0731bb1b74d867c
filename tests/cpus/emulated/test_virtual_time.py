"""Emulated guests in virtual time: the same every time, and shares as the weights say."""

import pytest

from cpus.emulated.virtual_time import INSTRUCTION_NS, STEP_NS, VirtualTime
from microhypervisor.sched.policy import Parameters
from policies.credit import Credit
from policies.round_robin import RoundRobin

MS = 1_000_000
SPIN = ".code32; 1: incl 0x20000; jmp 1b"
SLICE = 500_000


def counted(machine):
    """What a spinning guest has counted in its memory."""
    return int.from_bytes(machine.memory.view[0x20000:0x20004], "little")


def spinners(emulate, policy, pcpus, *parameters):
    time = VirtualTime(policy, pcpus)
    machines = [emulate(SPIN) for _ in parameters]
    for number, (machine, wanted) in enumerate(zip(machines, parameters, strict=True)):
        time.add(f"g{number}/0", machine.cpu, machine.bus, wanted)
    return time, machines


def test_weights_come_out_in_the_work_of_the_guests(emulate):
    time, machines = spinners(
        emulate, Credit(1, SLICE), 1, *(Parameters(weight=weight) for weight in (256, 512, 768))
    )
    assert time.run(60 * MS)
    work = [counted(machine) for machine in machines]
    total = sum(work)
    assert total == pytest.approx(60 * MS / INSTRUCTION_NS / 2, rel=0.001)
    assert [part / total for part in work] == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.02)


def test_a_cap_holds_though_the_pcpu_is_free(emulate):
    time, (machine,) = spinners(emulate, Credit(1, SLICE), 1, Parameters(cap=25))
    assert time.run(400 * MS)
    assert machine.cpu.instructions * INSTRUCTION_NS / (400 * MS) == pytest.approx(0.25, abs=0.03)


def test_two_pcpus_do_twice_the_work(emulate):
    time, machines = spinners(emulate, RoundRobin(2, SLICE), 2, *[Parameters()] * 4)
    assert time.run(10 * MS)
    work = [machine.cpu.instructions for machine in machines]
    assert sum(work) == pytest.approx(20 * MS / INSTRUCTION_NS, rel=0.01)
    assert max(work) - min(work) <= SLICE + 2 * STEP_NS


def interrupted(emulate, long_mode, pin_5_to_vector_37, policy):
    """A guest that sleeps between interrupts beside one that spins; their trace and transcript."""
    sleeper = emulate(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
        1:  sti; hlt; jmp 1b
        gate_37: out %al, $0x80; store 0, 0xfee000b0; iretq"""
    )
    spinner = emulate(SPIN)
    time = VirtualTime(policy, 1)
    time.add("sleeper/0", sleeper.cpu, sleeper.bus, Parameters())
    time.add("spinner/0", spinner.cpu, spinner.bus, Parameters())
    seen = []
    sleeper.bus.reactions["out", 0x80] = lambda: seen.append(time.now)
    for number in range(1, 20):
        time.at(number * 977_130, sleeper.complex.interrupt_line(5))
    assert time.run(20 * MS)
    return time.trace, seen, counted(spinner), sleeper.cpu.instructions


@pytest.mark.parametrize("policy", [RoundRobin, Credit])
def test_two_runs_are_the_same_to_the_last_instruction(
    emulate, long_mode, pin_5_to_vector_37, policy
):
    first, second = (
        interrupted(emulate, long_mode, pin_5_to_vector_37, policy(1, SLICE)) for _ in range(2)
    )
    assert first == second
    trace, seen, *_ = first
    assert len(seen) == 19
    woken = [entry.now for entry in trace if entry[1:3] == ("sleeper/0", "woken")]
    assert woken[1:] == [number * 977_130 for number in range(1, 20)]
    assert all(at - since <= SLICE + STEP_NS for at, since in zip(seen, woken[1:], strict=True))


def test_all_asleep_is_told_and_an_event_goes_on_from_there(emulate, long_mode, pin_5_to_vector_37):
    machine = emulate(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            sti; hlt
            out %al, $0x80
            hlt
        gate_37: store 0, 0xfee000b0; iretq"""
    )
    time = VirtualTime(RoundRobin(2, SLICE), 2)
    time.add("g/0", machine.cpu, machine.bus, Parameters())
    assert not time.run(MS)
    assert machine.bus.lines == []
    time.at(5 * MS, machine.complex.interrupt_line(5))
    assert not time.run(9 * MS)
    assert machine.bus.lines == [("out", 0x80, 1, 0)]
    assert time.now >= 5 * MS


def test_faults_and_ends_free_the_pcpu(emulate):
    time = VirtualTime(RoundRobin(1, SLICE), 1)
    ends, faults, spins = (
        emulate(".code32; out %al, $0x80; 1: jmp 1b"),
        emulate("ud2"),
        emulate(SPIN),
    )
    ends.bus.reactions["out", 0x80] = lambda: time.end("ends/0")
    for name, machine in (("ends/0", ends), ("faults/0", faults), ("spins/0", spins)):
        time.add(name, machine.cpu, machine.bus, Parameters())
    assert time.run(10 * MS)
    assert [(e.task, e.what) for e in time.trace if e.what in ("kicked", "triple fault")] == [
        ("ends/0", "kicked"),
        ("faults/0", "triple fault"),
    ]
    assert spins.cpu.instructions >= 9.9 * MS / INSTRUCTION_NS
    assert ends.cpu.instructions == 1


def test_a_second_vcpu_takes_part_once_it_is_started(emulate):
    machine = emulate(
        """.code32
            movl $0x1ff, 0xfee000f0; movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300; movl $0x4609, 0xfee00300
        1:  hlt; jmp 1b
        .org 0x1000
        .code16
        1:  jmp 1b""",
        vcpus=2,
    )
    time = VirtualTime(RoundRobin(1, SLICE), 1)
    for vcpu in machine.complex.vcpus:
        time.add(f"g/{vcpu.index}", vcpu, machine.bus, Parameters())
    assert time.run(MS)
    first = [(entry.task, entry.what) for entry in time.trace][:6]
    assert first == [
        ("g/0", "woken"),
        ("g/0", "run"),
        ("g/0", "halted"),
        ("g/1", "woken"),
        ("g/1", "run"),
    ]
    assert machine.complex.vcpus[1].instructions >= 0.98 * MS / INSTRUCTION_NS
