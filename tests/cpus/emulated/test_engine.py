"""HLT is told from everything else, and what a guest can make an engine keep is bounded."""

from cpus.emulated import engine as engines
from cpus.emulated.engine import End
from microhypervisor.cpu.protocol import Registers, Stop
from tests.cpus.conftest import MORE_RAM

FIRST, COUNT = 0x20000, 10_000
HLT, JUMP_TO_THE_NEXT = b"\xf4", b"\xeb\x00"


def test_hlt_is_noticed_at_ever_new_addresses_and_nothing_is_kept_of_them(emulate):
    machine = emulate(".code32; hlt")
    machine.memory.load(FIRST, HLT * COUNT)
    engine = machine.cpu._engine
    kept = len(engine._uc._callbacks)
    for at in (*range(FIRST, FIRST + COUNT), *range(FIRST, FIRST + 10)):
        engine.start_flat(Registers(rip=at))
        assert (engine.run(100), engine.executed) == (End.HALT, 1)
    assert len(engine._uc._callbacks) == kept


def test_a_budget_that_ends_behind_a_byte_like_hlt_is_no_halt(emulate):
    machine = emulate(""".code32
        mov $0xf4, %al; .byte 0xb0, 0xf4; mov $0xf4f4f4f4, %ebx
        out %al, $0xf4""")
    stops = [machine.cpu.run(machine.bus, 1) for _ in range(4)]
    assert stops == [Stop.BUDGET] * 3 + [Stop.KICKED]


def test_no_more_than_so_many_blocks_are_kept(emulate, monkeypatch):
    most, step = 100, 50
    monkeypatch.setattr(engines, "MOST_BLOCKS", most)
    machine = emulate(".code32; hlt")
    machine.memory.load(FIRST, JUMP_TO_THE_NEXT * COUNT + HLT)
    engine = machine.cpu._engine
    engine.start_flat(Registers(rip=FIRST))
    sizes = []
    while engine.run(step) is End.BUDGET:
        assert engine.executed == step
        sizes.append(engine._counter.blocks())
    assert engine.executed == 1
    assert len(sizes) == COUNT // step
    assert most < max(sizes) <= most + step + 2


def test_blocks_are_forgotten_also_where_nothing_is_mapped_any_more(
    emulate, long_mode, monkeypatch
):
    machine = emulate(
        long_mode
        + f"""
            gate 14
            movb $0xc3, {MORE_RAM}
            mov ${MORE_RAM}, %ebx
            call *%rbx
            movl $1, 0x40001234
            finish
        gate_14:
            movq $0, 0x12018
            mov %cr3, %rax; mov %rax, %cr3
            out %al, $0x80
            nop; nop
            mov %cr2, %rax; out %eax, $0x81
            pop %rax; addq $11, (%rsp)
            iretq"""
    )
    machine.bus.reactions["out", 0x80] = lambda: monkeypatch.setattr(engines, "MOST_BLOCKS", 0)
    while (stop := machine.cpu.run(machine.bus, 1)) is Stop.BUDGET:
        pass
    assert stop is Stop.KICKED
    assert machine.bus.outs(0x81) == [0x40001234]
