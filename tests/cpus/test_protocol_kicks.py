"""Kicks: a run ends soon, no access is lost or done twice, and the guest can go on."""

import threading

import pytest

from microhypervisor.cpu.protocol import Stop
from tests.cpus.conftest import HOLE

KICK_PORT = 0x99


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


@pytest.mark.parametrize("input_", ["insl; insl; insl", "rep insl", "insw; rep insb; insw"])
def test_input_of_strings_with_a_kick_at_every_part(boot, input_):
    machine = boot(f""".code32
        mov $0x99, %edx; mov $buffer, %edi; mov $3, %ecx; {input_}
        mov $buffer, %esi; mov $0x80, %edx; mov $3, %ecx; rep outsl; out %al, $0xf4
        buffer: .skip 12""")
    parts = iter(range(0x11, 0x20))

    def react() -> None:
        machine.bus.answers[KICK_PORT] = 0x01010101 * next(parts)
        machine.cpu.kick()

    machine.bus.answers[KICK_PORT] = 0x10101010
    machine.bus.reactions["in", KICK_PORT] = react
    while not machine.bus.outs(0xF4):
        assert machine.run() is Stop.KICKED
    read = [(size, value) for kind, _, size, value in machine.bus.lines if kind == "in"]
    data = b"".join(value.to_bytes(size, "little") for size, value in read)
    out = b"".join(value.to_bytes(4, "little") for value in machine.bus.outs(0x80))
    assert len(read) in (3, 5)
    assert out == data.ljust(12, b"\0")
