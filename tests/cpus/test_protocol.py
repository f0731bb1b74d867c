"""What every back end owes the core, shown by guests of a few instructions.

Here: ports, MMIO, ROM, code that changes, and a second vCPU.
"""

from microhypervisor.cpu.protocol import Stop
from tests.cpus.conftest import HOLE, ROM


def test_ports_of_every_size(boot):
    machine = boot(""".code32
        mov $0x44332211, %eax
        out %al, $0x80; out %ax, $0x80; out %eax, $0x80
        in $0x90, %al; out %eax, $0x80
        in $0x90, %ax; out %eax, $0x80
        in $0x90, %eax; out %eax, $0x80
        out %al, $0xf4""")
    machine.bus.answers[0x90] = 0xA1A2A3A4
    assert machine.finish().lines == [
        ("out", 0x80, 1, 0x11),
        ("out", 0x80, 2, 0x2211),
        ("out", 0x80, 4, 0x44332211),
        ("in", 0x90, 1, 0xA4),
        ("out", 0x80, 4, 0x443322A4),
        ("in", 0x90, 2, 0xA3A4),
        ("out", 0x80, 4, 0x4433A3A4),
        ("in", 0x90, 4, 0xA1A2A3A4),
        ("out", 0x80, 4, 0xA1A2A3A4),
        ("out", 0xF4, 1, 0xA4),
    ]


def test_strings_through_ports(boot):
    machine = boot(""".code32
        mov $0x80, %edx; mov $text, %esi; mov $5, %ecx; rep outsb
        mov $0x90, %edx; mov $buffer, %edi; mov $3, %ecx; rep insw
        mov $0x80, %edx; mov $buffer, %esi; mov $3, %ecx; rep outsw
        out %al, $0xf4
        text: .ascii "hello"
        buffer: .skip 6""")
    machine.bus.answers[0x90] = 0xBEEF
    assert bytes(machine.finish().outs(0x80)[:5]) == b"hello"
    assert machine.bus.outs(0x80)[5:] == [0xBEEF] * 3


def test_mmio_and_holes(boot):
    machine = boot(""".code32
        mov 0xd0000000, %eax; out %eax, $0x80
        mov 0xd0000010, %ax; out %eax, $0x80
        mov 0xd0000010, %al; out %eax, $0x80
        movl $0x01020304, 0xd0000020; movw $0x0506, 0xd0000024; movb $7, 0xd0000026
        mov 0x300000, %eax; out %eax, $0x80
        out %al, $0xf4""")
    machine.bus.answers[HOLE] = 0x11112222
    machine.bus.answers[HOLE + 0x10] = 0x3344
    bus = machine.finish()
    assert bus.outs(0x80) == [0x11112222, 0x11113344, 0x11113344, 0xFFFFFFFF]
    assert [line for line in bus.lines if line[0] == "write"] == [
        ("write", HOLE + 0x20, 4, 0x01020304),
        ("write", HOLE + 0x24, 2, 0x0506),
        ("write", HOLE + 0x26, 1, 7),
    ]


def test_mmio_of_eight_bytes_comes_whole_or_in_halves(boot, long_mode):
    machine = boot(
        long_mode
        + """
        mov $0xd0000000, %edi; mov $0x1122334455667788, %rax; mov %rax, (%rdi)
        mov 8(%rdi), %rax; out %eax, $0x80; shr $32, %rax; out %eax, $0x80
        finish"""
    )
    machine.bus.answers |= {HOLE + 8: 0xAAAABBBBCCCCDDDD, HOLE + 12: 0xAAAABBBB}
    bus = machine.finish()
    written = b"".join(
        value.to_bytes(size, "little") for kind, _, size, value in bus.lines if kind == "write"
    )
    assert written == bytes.fromhex("8877665544332211")
    assert bus.outs(0x80) == [0xCCCCDDDD, 0xAAAABBBB]


def test_rom_is_read_and_executed_and_writes_to_it_reach_the_bus(boot):
    machine = boot(""".code32
        movl $0xdddddddd, 0x200004; mov 0x200004, %eax; out %eax, $0x80
        mov $0x200010, %eax; call *%eax; out %al, $0x80
        out %al, $0xf4""")
    machine.memory.load(ROM + 0x10, bytes.fromhex("b055c3"))  # mov $0x55, %al; ret
    bus = machine.finish()
    assert ("write", ROM + 4, 4, 0xDDDDDDDD) in bus.lines
    assert bus.outs(0x80) == [0x07060504, 0x55]


def test_init_and_start_up_bring_a_second_vcpu_to_real_mode(boot):
    machine = boot(
        """.code32
            movl $0x1ff, 0xfee000f0
            movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300
            movl $0x4609, 0xfee00300
        1:  cmpl $1, 0x4000
            jne 1b
            mov 0x4004, %eax; out %eax, $0x80
            mov 0x4008, %eax; out %eax, $0x80
            out %al, $0xf4
        .org 0x1000
        .code16
            mov %cs, %ax
            movw $0, %bx; mov %bx, %ds
            movw %ax, 0x4004
            movl $1, %eax; cpuid; shrl $24, %ebx
            movl %ebx, 0x4008
            movl $1, 0x4000
        1:  cli; hlt; jmp 1b""",
        vcpus=2,
    )
    waiting = machine.complex.vcpus[1]
    assert not waiting.runnable()
    assert machine.finish().outs(0x80) == [0x0900, 1]


def test_locked_instructions_of_two_vcpus_lose_nothing(boot):
    machine = boot(
        """.code32
            movl $0x1ff, 0xfee000f0
            movl $0x01000000, 0xfee00310
            movl $0x4500, 0xfee00300
            movl $0x4609, 0xfee00300
            mov $20000, %ecx
        1:  lock incl 0x4000
            loop 1b
        1:  pause
            cmpl $40000, 0x4000
            jne 1b
            out %al, $0xf4
        .org 0x1000
        .code16
            xor %ax, %ax; mov %ax, %ds
            movl $20000, %ecx
        1:  lock incl 0x4000
            addr32 loop 1b
        1:  cli; hlt; jmp 1b""",
        vcpus=2,
    )
    assert machine.finish().lines == [("out", 0xF4, 1, 0)]


def test_written_code_is_executed_as_written(boot):
    machine = boot(".code32; 1: mov $1, %al; out %al, $0x80; jmp 1b")
    machine.bus.reactions["out", 0x80] = machine.cpu.kick
    assert machine.run() is Stop.KICKED
    machine.memory.load(0x8000, b"\xb0\x02")
    machine.complex.memory_changed()
    assert machine.run() is Stop.KICKED
    assert machine.bus.outs(0x80) == [1, 2]


def test_exits_are_counted(boot):
    machine = boot(".code32; mov $100, %ecx; 1: out %al, $0x80; loop 1b; out %al, $0xf4")
    machine.finish()
    assert machine.cpu.exits["port"] == 101
