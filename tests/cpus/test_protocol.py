"""What every back end owes the core, shown by guests of a few instructions."""

import threading

import pytest

from microhypervisor.cpu.protocol import Stop

ROM = 0x200000
HOLE = 0xD0000000
KICK_PORT = 0x99


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


def test_a_kick_before_run_ends_it_at_once(boot):
    machine = boot(".code32; out %al, $0x80; 1: jmp 1b")
    machine.cpu.kick()
    assert machine.run() is Stop.KICKED
    assert machine.bus.lines == []


def test_a_kick_ends_a_spinning_guest_that_can_go_on(boot):
    machine = boot(".code32; out %al, $0x80; 1: inc %ebx; cmpl $0, 0x4000; je 1b; out %al, $0xf4")
    started = threading.Event()
    machine.bus.reactions["out", 0x80] = started.set
    kicker = threading.Thread(target=lambda: (started.wait(), machine.cpu.kick()))
    kicker.start()
    assert machine.run() is Stop.KICKED
    kicker.join()
    machine.memory.load(0x4000, b"\1")
    assert machine.finish().lines[-1][:2] == ("out", 0xF4)


@pytest.mark.parametrize(
    ("access", "verb", "address"),
    [
        ("in $0x99, %eax", "in", KICK_PORT),
        ("mov 0xd0000000, %eax", "read", HOLE),
        ("xor %eax, %eax; add 0xd0000000, %eax", "read", HOLE),
    ],
)
def test_a_kick_from_the_bus_completes_the_read_under_way(boot, access, verb, address):
    machine = boot(f".code32; {access}; out %eax, $0x80; out %al, $0xf4")
    machine.bus.answers[address] = 0xCAFE
    machine.bus.reactions[verb, address] = machine.cpu.kick
    assert machine.run() is Stop.KICKED
    assert machine.bus.lines == [(verb, address, 4, 0xCAFE)]
    assert machine.finish().outs(0x80) == [0xCAFE]
    assert [line[0] for line in machine.bus.lines].count(verb) == 1


def test_a_kick_from_the_bus_completes_the_write_under_way(boot):
    machine = boot(""".code32
        movl $1, 0xd0000000; movl $2, 0xd0000000; out %al, $0xf4""")
    machine.bus.reactions["write", HOLE] = machine.cpu.kick
    assert machine.run() is Stop.KICKED
    assert machine.bus.lines == [("write", HOLE, 4, 1)]
    assert machine.run() is Stop.KICKED
    assert machine.bus.lines[1:] == [("write", HOLE, 4, 2)]
    assert machine.finish().lines[2:] == [("out", 0xF4, 1, 0)]


def test_a_locked_increment_of_mmio_that_is_kicked_in_both_halves_happens_once(boot):
    machine = boot(".code32; lock incl 0xd0000000; out %al, $0xf4")
    machine.bus.answers[HOLE] = 6
    machine.bus.reactions["read", HOLE] = machine.bus.reactions["write", HOLE] = machine.cpu.kick
    while ("out", 0xF4, 1, 0) not in machine.bus.lines:
        assert machine.run() is Stop.KICKED
    assert machine.bus.lines[:2] == [("read", HOLE, 4, 6), ("write", HOLE, 4, 7)]
    assert len(machine.bus.lines) == 3


def test_strings_through_ports_with_a_kick_at_every_byte(boot):
    machine = boot(""".code32
        mov $0x99, %edx; mov $text, %esi; mov $5, %ecx; rep outsb; out %al, $0xf4
        text: .ascii "hello" """)
    machine.bus.reactions["out", KICK_PORT] = machine.cpu.kick
    while not machine.bus.outs(0xF4):
        assert machine.run() is Stop.KICKED
    assert bytes(machine.bus.outs(KICK_PORT)) == b"hello"


def test_a_halted_vcpu_sleeps_until_an_interrupt(boot, long_mode, pin_5_to_vector_37):
    machine = boot(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            out %al, $0x80
            sti; hlt
            out %al, $0x82
            finish
        gate_37: out %al, $0x81; store 0, 0xfee000b0; iretq"""
    )
    pulse = machine.complex.interrupt_line(5)
    machine.bus.reactions["out", 0x80] = lambda: threading.Thread(target=pulse).start()
    ports = [address for _, address, _, _ in machine.finish().lines]
    assert ports == [0x80, 0x81, 0x82, 0xF4]


def test_no_interrupt_is_lost_between_a_look_and_the_halt(boot, long_mode, pin_5_to_vector_37):
    rounds = 300
    machine = boot(
        long_mode
        + f"""
            gate 37
            {pin_5_to_vector_37}
            xor %ebx, %ebx
        again:
            out %al, $0x80
        look:
            cli
            cmp %ebx, counter
            jne seen
            sti; hlt
            jmp look
        seen:
            inc %ebx
            cmp ${rounds}, %ebx
            jne again
            finish
        gate_37: incl counter; store 0, 0xfee000b0; iretq
        counter: .long 0"""
    )
    pulse = machine.complex.interrupt_line(5)
    asked = threading.Semaphore(0)
    machine.bus.reactions["out", 0x80] = asked.release

    def answer() -> None:
        for _ in range(rounds):
            asked.acquire()
            pulse()

    thread = threading.Thread(target=answer)
    thread.start()
    assert len(machine.finish().outs(0x80)) == rounds
    thread.join()


def test_an_interrupt_taken_at_cpl_3_returns_there(boot, long_mode, pin_5_to_vector_37):
    machine = boot(
        long_mode
        + f"""
            gate 37; gate 6
            {pin_5_to_vector_37}
            out %al, $0x80
            ring3
        user: cmpl $0, counter; je user
            ud2
        gate_37:
            incl counter
            mov 8(%rsp), %eax; out %al, $0x81
            mov %cs, %eax; out %al, $0x81
            store 0, 0xfee000b0
            iretq
        gate_6:
            mov 8(%rsp), %eax; out %al, $0x82
            finish
        counter: .long 0"""
    )
    machine.bus.reactions["out", 0x80] = machine.complex.interrupt_line(5)
    assert machine.finish().outs(0x81) == [0x23, 0x08]
    assert machine.bus.outs(0x82) == [0x23]


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
    assert machine.cpu.exits == 101


def test_pins_beyond_the_io_apic_are_refused(boot):
    machine = boot(".code32; hlt")
    with pytest.raises(Exception, match="pins 0 to 23"):
        machine.complex.interrupt_line(24)


def test_an_interrupt_line_is_harmless_after_close(boot):
    machine = boot(".code32; hlt")
    pulse = machine.complex.interrupt_line(5)
    machine.close()
    pulse()
