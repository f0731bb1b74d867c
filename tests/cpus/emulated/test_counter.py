"""Instructions are counted exactly, whatever cuts a run short, and budgets keep to the number."""

import pytest

from microhypervisor.cpu.protocol import Stop

PROGRAMS = {
    "straight": ("nop; nop; nop; hlt", 4),
    "a loop": ("mov $5, %ecx; 1: dec %ecx; jnz 1b; nop; hlt", 13),
    "output": ("1: inc %ecx; out %al, $0x80; cmp $3, %ecx; jne 1b; hlt", 13),
    "input": ("in $0x80, %al; inc %ecx; in $0x80, %al; in $0x80, %al; jmp 1f; 1: hlt", 6),
    "input of strings": ("mov $0x80, %edx; mov $0x20000, %edi; insl; insl; nop; hlt", 6),
    "a repetition": ("mov $0x20000, %edi; mov $5, %ecx; rep stosb; hlt", 2 + 6 + 1),
    "MMIO": ("mov 0xd0000000, %eax; incl 0xd0000000; nop; lock incl 0xd0000000; hlt", 5),
    "ROM": ("nop; movl $1, 0x200000; movl $1, 0x200004; nop; hlt", 5),
}


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS.keys())
def program(request, emulate):
    source, count = request.param
    return emulate(f".code32; {source}"), count


def halt(machine, budget=None):
    """Run until it halts; how many instructions were executed at each return."""
    counts = []
    stop = None
    while stop is not Stop.HALTED:
        stop = machine.cpu.run(machine.bus, budget)
        counts.append(machine.cpu.instructions)
    return counts


def test_all_are_counted(program):
    machine, count = program
    assert halt(machine) == [count]


@pytest.mark.parametrize("budget", [1, 2, 3, 7, 10**6])
def test_a_budget_is_kept_to_the_instruction(program, budget):
    machine, count = program
    steps = list(range(budget, count + 1, budget))
    assert halt(machine, budget) == [*steps, count]
    assert machine.cpu.exits["budget"] == len(steps)


def test_kicks_at_every_access_change_nothing(program):
    machine, count = program
    for kind, address in [("in", 0x80), ("out", 0x80), ("read", 0xD0000000), ("write", 0xD0000000)]:
        machine.bus.reactions[kind, address] = machine.cpu.kick
    assert halt(machine)[-1] == count


def test_a_run_without_a_budget_is_not_bound_by_the_last_one(emulate):
    machine = emulate(".code32; mov $100000, %ecx; 1: loop 1b; hlt")
    assert machine.cpu.run(machine.bus, 10) is Stop.BUDGET
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    assert machine.cpu.instructions == 100_002


def test_a_budget_of_nothing_runs_nothing(emulate):
    machine = emulate(".code32; out %al, $0x80; hlt")
    assert machine.cpu.run(machine.bus, 0) is Stop.BUDGET
    assert (machine.cpu.instructions, machine.bus.lines) == (0, [])
