"""What only the emulated CPU has to prove: the traps of Unicorn do not show."""

import os
import threading
from pathlib import Path

import pytest

from cpus.emulated.complex import MOST_VCPUS, EmulatedComplex
from microhypervisor.cpu.protocol import Stop
from microhypervisor.errors import PeerFault
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out


def test_bytes_that_look_like_hlt_are_never_taken_for_it(emulate):
    machine = emulate(""".code32
            mov $300000, %ecx
        1:  mov $0xf4, %al
            .byte 0xb0, 0xf4
            mov $0xf4f4f4f4, %ebx
            dec %ecx
            jnz 1b
            out %al, $0xf4""")
    assert machine.cpu.run(machine.bus) is Stop.KICKED
    assert machine.bus.lines == [("out", 0xF4, 1, 0xF4)]


def test_every_hlt_is_noticed_the_first_one_too(emulate):
    machine = emulate(".code32; hlt")
    assert machine.cpu.run(machine.bus) is Stop.HALTED
    assert not machine.cpu.runnable()
    assert machine.cpu.exits["halt"] == 1


def test_an_unknown_instruction_is_ud_at_its_address(emulate, long_mode):
    machine = emulate(
        long_mode
        + """
            gate 6
        odd: .byte 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1
        gate_6:
            mov (%rsp), %rax; sub $odd, %rax; out %al, $0x80
            finish"""
    )
    assert machine.finish().outs(0x80) == [0]


def test_a_pending_interrupt_enters_a_window_of_one_instruction(
    emulate, long_mode, pin_5_to_vector_37
):
    machine = emulate(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            out %al, $0x80
        1:  sti; nop; cli
            cmpl $0, seen
            je 1b
            finish
        gate_37: incl seen; store 0, 0xfee000b0; iretq
        seen: .long 0"""
    )
    machine.bus.reactions["out", 0x80] = machine.complex.interrupt_line(5)
    machine.finish()


def test_int_n_needs_a_gate_that_its_level_may_use(emulate, long_mode):
    machine = emulate(
        long_mode
        + """
            gate 13; gate 48
            int $48
            ring3
        user: int $48
        gate_48: out %al, $0x80; iretq
        gate_13:
            pop %rax; out %eax, $0x81
            pop %rax; sub $user, %rax; out %al, $0x82
            finish"""
    )
    bus = machine.finish()
    assert len(bus.outs(0x80)) == 1
    assert bus.outs(0x81) == [48 * 8 + 2]
    assert bus.outs(0x82) == [0]


def test_an_interrupt_stack_and_a_double_fault(emulate, long_mode):
    machine = emulate(
        long_mode
        + """
            gate 8
            movb $1, 0x6084
            movl $0x4800, 0x5024
            ud2
        gate_8:
            mov %esp, %eax; out %eax, $0x80
            pop %rax; out %al, $0x81
            finish"""
    )
    bus = machine.finish()
    assert bus.outs(0x80) == [0x4800 - 48]
    assert bus.outs(0x81) == [0]


def test_gates_of_32_bits(emulate):
    machine = emulate(""".code32
            lgdt pointer
            lidt idt_pointer
            mov $0x5000, %esp
            ljmp $8, $1f
        1:  mov $handler, %eax
            mov %ax, 0x6030
            movl $0x8e00, 0x6034
            movw $8, 0x6032
            ud2
        handler:
            pop %eax; sub $handler, %eax; out %eax, $0x80
            pop %eax; out %al, $0x81
            out %al, $0xf4
        .balign 8
        gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
        pointer: .word 23; .long gdt
        idt_pointer: .word 2047; .long 0x6000""")
    bus = machine.finish()
    assert bus.outs(0x80) == [0xFFFFFFFE]
    assert bus.outs(0x81) == [8]


def test_execution_outside_memory_is_a_failure_with_a_report(emulate):
    machine = emulate(".code32; mov $0x80000000, %eax; jmp *%eax")
    assert machine.run() is Stop.FAILED
    assert "the emulator cannot go on" in machine.cpu.report()


def test_a_handler_that_fails_is_our_bug_and_shows(emulate):
    machine = emulate(".code32; out %al, $0x80; out %al, $0xf4")

    def fail() -> None:
        raise RuntimeError("device")

    machine.bus.reactions["out", 0x80] = fail
    with pytest.raises(RuntimeError, match="device"):
        machine.run()


def test_vcpus_have_turns_while_one_waits_for_the_bus(emulate):
    machine = emulate(
        """.code32
            movl $0x1ff, 0xfee000f0; movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300; movl $0x4609, 0xfee00300
            out %al, $0x80
            out %al, $0xf4
        .org 0x1000
        .code16
            out %al, $0x81
        1:  cli; hlt; jmp 1b""",
        vcpus=2,
    )
    other = threading.Event()
    machine.bus.reactions["out", 0x81] = other.set
    machine.bus.reactions["out", 0x80] = lambda: other.wait(20)
    assert [address for _, address, _, _ in machine.finish().lines] == [0x80, 0x81, 0xF4]


def test_there_is_no_interrupt_controller_of_the_kernel():
    with pytest.raises(PeerFault, match="leave kernel_irqchip out"):
        EmulatedComplex(None, 1, True)


def test_too_many_vcpus():
    with pytest.raises(PeerFault, match=f"1 to {MOST_VCPUS}"):
        EmulatedComplex(None, MOST_VCPUS + 1)


def test_nothing_is_left_after_close():
    memory = GuestMemory("test", lay_out([(RegionKind.RAM, 0, 1 << 20)]))
    for _ in range(2):  # the first leaves what Python and Unicorn keep for ever
        EmulatedComplex(memory, 2).close()
    before = len(os.listdir("/proc/self/fd")), _mapped()
    for _ in range(10):
        EmulatedComplex(memory, 2).close()
    assert len(os.listdir("/proc/self/fd")) == before[0]
    assert _mapped() - before[1] < 256 << 20
    memory.close()


def _mapped() -> int:
    """Bytes of address space; one engine takes more than a gigabyte of it."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096
