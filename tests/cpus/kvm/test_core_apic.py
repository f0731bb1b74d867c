"""What only a KVM vCPU with the core's APIC has to prove: CR8, the APIC's base, broken accesses."""

import pytest

from microhypervisor.cpu.protocol import Stop

pytestmark = pytest.mark.kvm


def test_cr8_and_the_task_priority_are_one_register(boot_kvm, long_mode):
    machine = boot_kvm(
        long_mode
        + """
            gate 37
            sti
            mov $3, %rax; mov %rax, %cr8
            mov $0xfee00080, %edi; mov (%rdi), %eax; out %eax, $0x82
            store 0x40025, 0xfee00300
            out %al, $0x80
            xor %eax, %eax; mov %rax, %cr8
        1:  cmpl $1, seen; jne 1b
            store 0x50, 0xfee00080
            mov %cr8, %rax; out %al, $0x83
            finish
        gate_37: out %al, $0x81; store 0, 0xfee000b0; movl $1, seen; iretq
        seen: .long 0"""
    )
    bus = machine.finish()
    assert [address for _, address, _, _ in bus.lines] == [0x82, 0x80, 0x81, 0x83, 0xF4]
    assert (bus.outs(0x82), bus.outs(0x83)) == ([0x30], [5])


def test_the_local_apic_moves_with_its_base_and_goes_when_switched_off(boot_kvm):
    machine = boot_kvm(""".code32
        mov $0x1b, %ecx; rdmsr; out %eax, $0x80
        mov 0xfee00030, %eax; out %eax, $0x80
        mov $0xd0000900, %eax; xor %edx, %edx; wrmsr
        mov 0xd0000030, %eax; out %eax, $0x80
        mov 0xfee00030, %eax; out %eax, $0x80
        mov $0xd0000100, %eax; wrmsr
        mov 0xd0000030, %eax; out %eax, $0x80
        out %al, $0xf4""")
    machine.bus.answers |= {0xFEE00030: 0x11, 0xD0000030: 0x22}
    assert machine.finish().outs(0x80) == [0xFEE00900, 0x50014, 0x50014, 0x11, 0x22]
    assert machine.cpu.exits["apic"] == 2
    assert machine.cpu.exits["mmio"] == 2


def test_the_processor_says_that_it_has_an_apic_but_no_x2apic(boot_kvm):
    machine = boot_kvm(""".code32
        mov $1, %eax; cpuid; out %al, $0xf4
        mov %ecx, %eax; out %eax, $0x80; mov %edx, %eax; out %eax, $0x81""")
    machine.bus.reactions.clear()
    machine.bus.reactions["out", 0x81] = machine.end
    machine.run()
    assert machine.bus.outs(0x80)[0] & (1 << 21 | 1 << 24) == 0
    assert machine.bus.outs(0x81)[0] & 1 << 9


def test_a_start_up_undoes_an_access_that_init_broke_off(boot_kvm):
    """vCPU 1 reads a port; INIT and SIPI come before KVM has put the answer into its register."""
    machine = boot_kvm(
        """.code32
            movl $0x1ff, 0xfee000f0; movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300; movl $0x4609, 0xfee00300
        1:  jmp 1b
        .org 0x1000
        .code16
            inl $0x90, %eax
            cli; hlt
        .org 0x2000
            outl %eax, $0x80
            out %al, $0xf4""",
        vcpus=2,
    )
    second = machine.complex.vcpus[1]
    second.wake = machine.cpu.kick
    assert machine.run() is Stop.KICKED
    sent = []

    def restart() -> None:
        wiring = machine.complex._wiring
        wiring.access(lambda: machine.cpu.apic.write(0x300, 0x4500))
        wiring.access(lambda: machine.cpu.apic.write(0x300, 0x460A))
        sent.append(True)

    machine.bus.reactions["in", 0x90] = restart
    machine.bus.answers[0x90] = 0xCAFE
    assert machine.run(second) is Stop.KICKED
    assert sent == [True]
    assert machine.bus.outs(0x80) == [0]


def test_a_kick_during_a_start_up_is_kept(boot_kvm):
    machine = boot_kvm(
        """.code32
            movl $0x1ff, 0xfee000f0; movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300; movl $0x4609, 0xfee00300
        1:  jmp 1b
        .org 0x1000
        .code16
        1:  jmp 1b""",
        vcpus=2,
    )
    second = machine.complex.vcpus[1]
    second.wake = machine.cpu.kick
    assert machine.run() is Stop.KICKED
    second.kick()
    assert machine.run(second) is Stop.KICKED
