"""Halts are seen and wake-ups exact where the APICs are the core's; start-up, again and again."""

import random
import threading

import pytest

from microhypervisor.cpu.protocol import Stop

START = """.code32
    movl $0x1ff, 0xfee000f0; movl $0x01000000, 0xfee00310
    movl $0x4500, 0xfee00300; movl $0x4609, 0xfee00300
"""


def test_a_halt_ends_the_run_and_an_interrupt_wakes(boot_seen, long_mode, pin_5_to_vector_37):
    machine = boot_seen(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            sti; hlt
            out %al, $0x82
            finish
        gate_37: out %al, $0x81; store 0, 0xfee000b0; iretq"""
    )
    assert not machine.complex.sleeps_inside
    wakes = []
    machine.cpu.wake = lambda: wakes.append(machine.cpu.runnable())
    assert machine.cpu.runnable()
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    assert (machine.cpu.runnable(), wakes) == (False, [])
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    machine.complex.interrupt_line(6)()  # masked
    assert (machine.cpu.runnable(), wakes) == (False, [])
    machine.complex.interrupt_line(5)()
    assert (machine.cpu.runnable(), wakes) == (True, [True])
    assert machine.cpu.run(machine.bus) is Stop.KICKED
    assert [address for _, address, _, _ in machine.bus.lines] == [0x81, 0x82, 0xF4]


def test_a_halt_with_interrupts_disabled_stays_one(boot_seen, long_mode, pin_5_to_vector_37):
    machine = boot_seen(
        long_mode
        + f"""
        gate 37
        {pin_5_to_vector_37}
        hlt
        gate_37: out %al, $0x80"""
    )
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    machine.complex.interrupt_line(5)()
    assert not machine.cpu.runnable()
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    assert machine.bus.lines == []


def test_a_halted_vcpu_can_be_kicked(boot_seen):
    machine = boot_seen(".code32; hlt")
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    machine.cpu.kick()
    assert machine.cpu.run(machine.bus) is Stop.KICKED
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    assert not machine.cpu.runnable()


def test_an_interrupt_reaches_a_spinning_vcpu_without_ending_its_run(
    boot_seen, long_mode, pin_5_to_vector_37
):
    machine = boot_seen(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            sti
            out %al, $0x80
        1:  cmpl $100, counter; jne 1b
            finish
        gate_37: incl counter; out %al, $0x81; store 0, 0xfee000b0; iretq
        counter: .long 0"""
    )
    pulse = machine.complex.interrupt_line(5)
    served = threading.Semaphore(0)
    machine.bus.reactions["out", 0x80] = served.release
    machine.bus.reactions["out", 0x81] = served.release

    def pulses() -> None:
        for _ in range(100):
            served.acquire()
            pulse()

    thread = threading.Thread(target=pulses)
    thread.start()
    machine.finish()
    thread.join()
    assert len(machine.bus.outs(0x81)) == 100
    assert machine.cpu.exits["kick"] == 1  # by the last access
    assert machine.cpu.exits["halt"] == 0


@pytest.mark.parametrize("opening", ["sti", "push $0x202; popf"])
def test_what_comes_with_interrupts_disabled_is_taken_when_they_are_enabled(
    boot_seen, long_mode, pin_5_to_vector_37, opening
):
    machine = boot_seen(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            out %al, $0x80
            mov $1000, %ecx; 1: loop 1b
            mov $1, %ebx
            {opening}
        1:  jmp 1b
        gate_37: mov %ebx, %eax; out %al, $0x81; finish"""
    )
    machine.bus.reactions["out", 0x80] = machine.complex.interrupt_line(5)
    assert machine.finish().outs(0x81) == [1]


def test_the_task_priority_holds_back_and_a_higher_class_nests(
    boot_seen, long_mode, pin_5_to_vector_37
):
    machine = boot_seen(
        long_mode
        + """
            gate 37; gate 48
            sti
            store 0x30, 0xfee00080
            store 0x40025, 0xfee00300
            out %al, $0x80
            store 0, 0xfee00080
        1:  cmpl $1, nested; jne 1b
            out %al, $0x83
            finish
        gate_37:
            out %al, $0x81
            store 0x40030, 0xfee00300
            sti
        1:  cmpl $1, nested; jne 1b
            out %al, $0x82
            store 0, 0xfee000b0; iretq
        gate_48: out %al, $0x90; store 0, 0xfee000b0; movl $1, nested; iretq
        nested: .long 0"""
    )
    ports = [address for _, address, _, _ in machine.finish().lines]
    assert ports == [0x80, 0x81, 0x90, 0x82, 0x83, 0xF4]


def test_the_end_of_one_interrupt_lets_the_next_of_its_class_in(boot_seen, long_mode):
    machine = boot_seen(
        long_mode
        + """
            gate 65; gate 66
            store 0x40041, 0xfee00300; store 0x40042, 0xfee00300
            sti
        1:  cmpl $2, seen; jne 1b
            finish
        gate_65: out %al, $0x81; jmp 2f
        gate_66: out %al, $0x82
        2:  store 0, 0xfee000b0; incl seen; iretq
        seen: .long 0"""
    )
    assert [address for _, address, _, _ in machine.finish().lines] == [0x82, 0x81, 0xF4]


def test_a_running_vcpu_can_be_started_anew_elsewhere(boot):
    machine = boot(
        START
        + """
        1:  cmpl $1, 0x4000; jne 1b
            movl $0x4500, 0xfee00300; movl $0x460a, 0xfee00300
        1:  cmpl $2, 0x4000; jne 1b
            mov 0x4004, %eax; out %eax, $0x80
            out %al, $0xf4
        .org 0x1000
        .code16
            xor %bx, %bx; mov %bx, %ds
            movl $1, 0x4000
        1:  jmp 1b
        .org 0x2000
            mov %cs, %ax; mov %ds, %bx; shll $16, %ebx; movw %ax, %bx
            movl %ebx, 0x4004
            movl $2, 0x4000
        1:  cli; hlt; jmp 1b""",
        vcpus=2,
    )
    assert machine.finish().outs(0x80) == [0x0A00]


def test_a_vcpu_that_waits_is_woken_by_its_start_up(boot_seen):
    machine = boot_seen(START + "out %al, $0xf4; .org 0x1000; .code16; 1: hlt; jmp 1b", vcpus=2)
    second = machine.complex.vcpus[1]
    wakes = []
    second.wake = lambda: wakes.append(second.runnable())
    assert second.run(machine.bus) is Stop.HALTED
    assert machine.run() is Stop.KICKED
    assert wakes[-1] is True
    second.kick()
    while (stop := second.run(machine.bus)) is not Stop.HALTED:
        assert stop is Stop.KICKED
    assert second.exits["halt"] == 1


def test_two_vcpus_wake_each_other(boot_seen, long_mode):
    rounds = 200
    machine = boot_seen(
        long_mode
        + f"""
            gate 37
            store 0x01000000, 0xfee00310; store 0x4500, 0xfee00300; store 0x460b, 0xfee00300
        1:  cmpl $1, ready; jne 1b
            mov ${rounds}, %ebx
        again:
            store 0x4025, 0xfee00300
            cli
        1:  cmpl $1, mark
            je 2f
            sti; hlt; cli
            jmp 1b
        2:  movl $0, mark; sti
            dec %ebx
            jnz again
            mov turns, %eax; out %eax, $0x80
            finish
        gate_37: movl $1, mark; store 0, 0xfee000b0; iretq
        mark: .long 0
        ready: .long 0
        turns: .long 0
        .org 0x3000
        .code16
            xor %ax, %ax; mov %ax, %ds
            lgdtl other_gdt
            mov $0x10000, %eax; mov %eax, %cr3; mov $0x20, %eax; mov %eax, %cr4
            mov $0xc0000080, %ecx; rdmsr; or $0x100, %ax; wrmsr
            mov $0x80010033, %eax; mov %eax, %cr0
            ljmpl $8, $other
        other_gdt: .word 55; .long gdt
        .code64
        other:
            mov $0x10, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es
            mov $0x4800, %esp
            lidt other_idt
            store 0x1ff, 0xfee000f0
            mov $other_gate, %eax
            mov %ax, 0x3000 + 16 * 37; movl $8, 0x3002 + 16 * 37
            movw $0x8e00, 0x3004 + 16 * 37
            shr $16, %eax; mov %ax, 0x3006 + 16 * 37
            store 0, 0xfee00310
            movl $1, ready
        1:  sti; hlt; jmp 1b
        other_gate:
            incl turns
            store 0, 0xfee000b0
            store 0x4025, 0xfee00300
            iretq
        other_idt: .word 4095; .quad 0x3000""",
        vcpus=2,
    )
    assert machine.finish().outs(0x80) == [rounds]


def test_no_interrupt_and_no_kick_is_lost_when_both_rain(boot_seen, long_mode, pin_5_to_vector_37):
    """A guest that halts between interrupts, one outstanding; kicks at any moment."""
    seed, rounds = 4711, 300
    print("seed", seed)
    machine = boot_seen(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            out %al, $0x80
            sti
        1:  hlt; jmp 1b
        gate_37: out %al, $0x81; store 0, 0xfee000b0; iretq"""
    )
    pulse = machine.complex.interrupt_line(5)
    asked = threading.Semaphore(0)
    machine.bus.reactions["out", 0x80] = machine.bus.reactions["out", 0x81] = asked.release
    kicked = 0

    def rain() -> None:
        nonlocal kicked
        rng = random.Random(seed)
        for _ in range(rounds):
            asked.acquire()
            for _ in range(rng.randrange(3)):
                machine.cpu.kick()
                kicked += 1
            pulse()
        asked.acquire()
        machine.end()

    thread = threading.Thread(target=rain)
    thread.start()
    kicks = 0
    while thread.is_alive():
        kicks += machine.run() is Stop.KICKED
    thread.join()
    assert len(machine.bus.outs(0x81)) == rounds
    assert 0 < kicks <= kicked + 1
