"""Exceptions through the guest's own gates, at both rings, and without an IDT."""

import pytest

from microhypervisor.cpu.protocol import Stop
from tests.cpus.conftest import ROM


def test_ud2_is_a_gate_from_cpl_3_to_ring_0_and_back(boot, long_mode):
    machine = boot(
        long_mode
        + """
            gate 6
            ring3
        user:
            mov $3, %ebx
        1:  mov %ebx, %eax
            ud2
            dec %ebx
            jnz 1b
            xor %eax, %eax
            ud2
        gate_6:
            addq $2, (%rsp)
            out %al, $0x80
            mov 8(%rsp), %ecx
            mov %esp, %edx
            test %eax, %eax
            jz 2f
            iretq
        2:  mov %ecx, %eax; out %eax, $0x81
            mov %edx, %eax; out %eax, $0x81
            mov 24(%rsp), %eax; out %eax, $0x81
            mov 32(%rsp), %eax; out %eax, $0x81
            finish"""
    )
    bus = machine.finish()
    assert bus.outs(0x80) == [3, 2, 1, 0]
    assert bus.outs(0x81) == [0x23, 0x5000 - 40, 0x7000, 0x1B]


def test_halt_is_forbidden_at_cpl_3(boot, long_mode):
    machine = boot(
        long_mode
        + """
            gate 13
            ring3
        user: hlt
        gate_13:
            mov 8(%rsp), %eax; sub $user, %eax; out %al, $0x81
            finish"""
    )
    assert machine.finish().outs(0x81) == [0]


@pytest.mark.parametrize("from_user", [True, False])
def test_a_page_fault_tells_its_address(boot, long_mode, from_user):
    machine = boot(
        long_mode
        + f"""
            gate 14
            {"ring3" if from_user else ""}
        user:
            movl $1, 0x40001234
        gate_14:
            mov %cr2, %rax; out %eax, $0x80
            pop %rax; and $5, %eax; out %al, $0x81
            pop %rax; sub $user, %eax; out %eax, $0x82
            finish"""
    )
    bus = machine.finish()
    assert bus.outs(0x80) == [0x40001234]
    assert bus.outs(0x81) == [4 if from_user else 0]
    assert bus.outs(0x82) == [0]


def test_exceptions_one_after_the_other_are_no_double_faults(boot, long_mode):
    machine = boot(
        long_mode
        + """
            gate 0; gate 8; gate 14
            xor %ecx, %ecx
            mov $3, %ebx
        1:  movl $1, 0x40001234
            div %ecx
            div %ecx
            dec %ebx; jnz 1b
            finish
        gate_14:
            mov $14, %al; out %al, $0x80
            pop %rax
            addq $11, (%rsp); iretq
        gate_0:
            mov $0, %al; out %al, $0x80
            addq $2, (%rsp); iretq
        gate_8:
            mov $8, %al; out %al, $0x80
            finish"""
    )
    assert machine.finish().outs(0x80) == [14, 0, 0] * 3


def test_division_by_zero_is_exception_0(boot, long_mode):
    machine = boot(
        long_mode
        + """
            gate 0
            xor %ecx, %ecx
            div %ecx
        gate_0:
            out %al, $0x80
            finish"""
    )
    assert len(machine.finish().outs(0x80)) == 1


def test_an_exception_without_an_idt_is_a_triple_fault_with_a_report(boot):
    machine = boot(""".code32
        mov $0xabcdef01, %eax
        lidt nothing
        ud2
        nothing: .word 0; .long 0""")
    assert machine.run() is Stop.TRIPLE_FAULT
    report = machine.cpu.report()
    assert report.startswith("vCPU 0: triple fault")
    assert "rax 00000000abcdef01" in report
    assert "rbx 0000000012345678" in report
    assert "rip 000000000000800c" in report
    assert "0f 0b" in report
    assert "gdt" in report


def test_an_instruction_the_cpu_lacks_ends_the_guest_or_is_ud(boot, long_mode):
    machine = boot(
        long_mode
        + """
            gate 6
            .byte 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1
        gate_6:
            out %al, $0x80
            finish"""
    )
    stop = machine.run()
    if stop is Stop.FAILED:
        assert "62 f1 7c 48" in machine.cpu.report()
    else:
        assert len(machine.bus.outs(0x80)) == 1


@pytest.mark.parametrize("handled", [True, False])
def test_a_refused_gate_without_one_for_that_is_a_double_fault(boot, long_mode, handled):
    machine = boot(
        long_mode
        + f"""
            gate 48
            {"gate 8" if handled else ""}
            ring3
        user: int $48
        gate_48: out %al, $0x82
        gate_8:
            pop %rax; out %al, $0x80
            finish"""
    )
    stop = machine.run()
    assert stop is (Stop.KICKED if handled else Stop.TRIPLE_FAULT)
    assert machine.bus.outs(0x80) == ([0] if handled else [])
    assert not machine.bus.outs(0x82)


@pytest.mark.parametrize("switched", [True, False])
def test_a_stack_in_rom_ends_the_guest_and_changes_nothing(boot, long_mode, switched):
    top = ROM + 256
    machine = boot(
        long_mode
        + f"""
            gate 6; gate 8
            movl ${top}, 0x5004
            {"ring3" if switched else f"mov ${top}, %esp"}
        user: ud2
        gate_6: out %al, $0x80
        gate_8: out %al, $0x80
            finish"""
    )
    before = machine.memory.view[1 << 20 : (1 << 20) + 4096].tobytes()
    assert machine.run() in (Stop.TRIPLE_FAULT, Stop.FAILED)
    assert machine.memory.view[1 << 20 : (1 << 20) + 4096].tobytes() == before
    assert not machine.bus.outs(0x80)
