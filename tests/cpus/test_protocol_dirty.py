"""Dirty pages: those that the guest wrote, each once, and none missed under a spinning writer."""

import threading

import pytest

from microhypervisor.cpu.protocol import Stop
from microhypervisor.memory.ram import PAGE
from tests.cpus.conftest import ROM

ASK = 0x90  # a port that stops the guest


def numbers(bitmap):
    return [n for n in range(8 * len(bitmap)) if bitmap[n >> 3] & 1 << (n & 7)]


@pytest.fixture
def stopping(boot):
    """Make machines that run up to each access of port ASK."""

    def make(source, vcpus=1):
        machine = boot(source, vcpus)
        machine.bus.reactions["out", ASK] = machine.cpu.kick
        return machine

    return make


WRITER = """.code32
    movl $1, 0x20000
    out %al, $0x90
    movb $1, 0x30fff; movw $1, 0x31fff; lock incl 0x34000
    out %al, $0x90
    movl $1, 0x200000; movl $1, 0x600000
    mov $0x40000, %edi; mov $0x2001, %ecx; rep stosb
    pushl $1
    out %al, $0x90
    out %al, $0x90
    movl $0, 0x20000
    out %al, $0x90
"""


def test_exactly_the_pages_written_are_told_once(stopping):
    machine = stopping(WRITER)
    processors = machine.complex
    assert machine.run() is Stop.KICKED
    assert numbers(processors.take_dirty()) == []  # nobody asked
    processors.track_dirty(True)
    assert numbers(processors.take_dirty()) == []
    machine.run()
    assert numbers(processors.take_dirty()) == [0x30, 0x31, 0x32, 0x34]
    machine.run()
    assert numbers(processors.take_dirty()) == [7, 0x40, 0x41, 0x42, 0x101]  # ROM never is
    assert ("write", ROM, 4, 1) in machine.bus.lines
    machine.run()
    assert numbers(processors.take_dirty()) == []
    processors.track_dirty(False)
    machine.run()
    assert numbers(processors.take_dirty()) == []


def test_turning_it_on_again_begins_anew(stopping):
    machine = stopping(WRITER)
    machine.run()
    machine.complex.track_dirty(True)
    machine.run()
    machine.complex.track_dirty(True)
    assert numbers(machine.complex.take_dirty()) == []
    machine.run()
    assert numbers(machine.complex.take_dirty()) == [7, 0x40, 0x41, 0x42, 0x101]


def test_bits_are_by_place_in_the_memory_not_by_address(stopping, long_mode):
    """The linear address is another one than the physical, too."""
    machine = stopping(
        long_mode
        + """
            movl $0x50087, 0x13000 + 8 * 0x10
            movl $0x87, 0x13000 + 8 * 0x11
            out %al, $0x90
            mov $0xc2253000, %edi; movl $5, (%rdi)
            out %al, $0x90"""
    )
    machine.run()
    machine.complex.track_dirty(True)
    machine.run()
    assert 0x53 in numbers(machine.complex.take_dirty())
    assert machine.memory.view[0x53000] == 5


def test_frames_of_interrupts_and_bits_in_page_tables_are_told(stopping, long_mode):
    machine = stopping(
        long_mode
        + """
            gate 6
            mov $0x4000, %esp
            out %al, $0x90
            ud2
        gate_6:
            mov $0xc2000000, %edi
            out %al, $0x90
            andl $~0x60, 0x13000 + 8 * 0x10
            mov %cr3, %rax; mov %rax, %cr3
            out %al, $0x90
            mov (%rdi), %eax
            out %al, $0x90"""
    )
    machine.run()
    machine.complex.track_dirty(True)
    machine.run()
    assert 3 in numbers(machine.complex.take_dirty())
    machine.run()
    machine.complex.take_dirty()
    before = machine.memory.view[0x13080]
    machine.run()
    told = numbers(machine.complex.take_dirty())
    assert (0x13 in told) or machine.memory.view[0x13080] == before


def test_no_write_is_missed_while_the_guest_runs_on(boot):
    """Copy what is told, again and again: after the last time, the guest stopped, all agree."""
    machine = boot(""".code32
            out %al, $0x80
        1:  imul $1103515245, %ebx, %ebx; add $12345, %ebx
            mov %ebx, %edi; shr $13, %edi; and $0x3fffc, %edi
            mov %ebx, 0x80000(%edi)
            incl 0x40000
            jmp 1b""")
    view, processors = machine.memory.view, machine.complex
    started = threading.Event()
    machine.bus.reactions["out", 0x80] = started.set
    runner = threading.Thread(target=machine.cpu.run, args=(machine.bus,))
    runner.start()
    started.wait()
    processors.track_dirty(True)
    copy = bytearray(view)
    told = 0

    def follow() -> int:
        pages = numbers(processors.take_dirty())
        for page in pages:
            copy[page * PAGE : (page + 1) * PAGE] = view[page * PAGE : (page + 1) * PAGE]
        return len(pages)

    while told < 500:
        told += follow()
    machine.cpu.kick()
    runner.join()
    follow()
    assert copy == view
    assert follow() == 0


def test_tracking_may_begin_while_a_vcpu_waits_for_the_bus(boot):
    machine = boot(""".code32
        mov $0x90, %edx; mov $0x50000, %edi; insl
        mov $0x1000, %ecx; 1: loop 1b
        movl $1, 0x60000; movl $0, 0x60000
        out %al, $0xf4""")
    machine.bus.answers[0x90] = 0x1234
    machine.bus.reactions["in", 0x90] = lambda: machine.complex.track_dirty(True)
    machine.finish()
    assert {0x50, 0x60} <= set(numbers(machine.complex.take_dirty()))
