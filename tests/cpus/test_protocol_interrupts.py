"""Interrupts: they wake a halted vCPU, none is lost, and lines outlive their complex."""

import threading

import pytest


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


def test_pins_beyond_the_io_apic_are_refused(boot):
    machine = boot(".code32; hlt")
    with pytest.raises(Exception, match="pins 0 to 23"):
        machine.complex.interrupt_line(24)


def test_an_interrupt_line_is_harmless_after_close(boot):
    machine = boot(".code32; hlt")
    pulse = machine.complex.interrupt_line(5)
    machine.close()
    pulse()
