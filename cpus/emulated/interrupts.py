"""How the emulated processor enters an interrupt handler: gates, stacks, frames.

Unicorn executes everything up to an exception and `iret` afterwards; what lies between is done
here, after Intel's manual, volume 3, chapter 6: 64-bit gates with TSS RSP0 and IST, and 32-bit
gates with SS0:ESP0. Handlers run at CPL 0. Not done: task gates, virtual-8086 and real mode.

The frame is computed as data (`Entry`), so that nothing changes in the guest if a table is bad.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from cpus.emulated.paging import AddressSpace, NotMapped

PROTECTED: Final = 1 << 0  # CR0.PE
INTERRUPT_FLAG: Final = 1 << 9
TRAP_FLAGS: Final = 1 << 8 | 1 << 14 | 1 << 16 | 1 << 17  # TF, NT, RF, VM
DOUBLE_FAULT: Final = 8
PAGE_FAULT: Final = 14
GENERAL_PROTECTION: Final = 13
WITH_ERROR_CODE: Final = frozenset((8, 10, 11, 12, 13, 14, 17))
INTERRUPT_GATE, TRAP_GATE, PRESENT_GATE = 0xE, 0xF, 0x80


class BadGate(Exception):
    """The interrupt cannot be delivered: no gate, a bad one, or no stack."""


class Refused(Exception):
    """Software may not use this gate from its privilege level: #GP with this error code."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


class Segment(NamedTuple):
    """One segment or table register; attributes as in the upper half of a descriptor."""

    selector: int
    base: int
    limit: int
    attributes: int


NULL_STACK: Final = Segment(0, 0, 0xFFFFFFFF, 0xCF9300)  # SS at CPL 0 of 64-bit mode


@dataclass(frozen=True, slots=True)
class State:
    """What of the processor matters at an interrupt."""

    rip: int
    rflags: int
    rsp: int
    segments: dict[str, Segment]


@dataclass(frozen=True, slots=True)
class Entry:
    """The processor at the handler's first instruction; ss is None where it stays as it is."""

    rip: int
    rflags: int
    rsp: int
    cs: Segment
    ss: Segment | None


def enter(
    space: AddressSpace, state: State, vector: int, error: int | None, software: bool = False
) -> Entry:
    """Write the frame and say where to go on. Raises BadGate, or Refused for `int n`."""
    if not space.cr0 & PROTECTED:
        raise BadGate(f"vector {vector} in real mode")
    wide = space.long_mode
    size = 16 if wide else 8
    idt, tss = state.segments["idt"], state.segments["tr"]
    old_cs, old_ss = state.segments["cs"].selector, state.segments["ss"].selector
    if (vector + 1) * size - 1 > idt.limit:
        raise BadGate(f"vector {vector} is beyond the IDT")
    try:
        gate = space.read(idt.base + vector * size, size)
        kind = gate >> 40 & 0xF
        if not gate >> 40 & PRESENT_GATE or kind not in (INTERRUPT_GATE, TRAP_GATE):
            raise BadGate(f"vector {vector} has no gate")
        cpl = old_cs & 3
        if software and gate >> 45 & 3 < cpl:
            raise Refused(vector * 8 + 2)
        frame = [state.rflags, old_cs, state.rip] + ([] if error is None else [error])
        cs = _descriptor(space, state.segments["gdt"], gate >> 16 & 0xFFFC)
        ss, rsp = None, state.rsp
        offset = gate & 0xFFFF | gate >> 32 & 0xFFFF0000
        if wide:
            offset |= gate >> 64 & 0xFFFFFFFF << 32
            if table := gate >> 32 & 7:
                rsp = space.read(tss.base + 28 + 8 * table, 8)
            elif cpl:
                rsp = space.read(tss.base + 4, 8)
            rsp &= ~15
            ss = NULL_STACK if cpl else None
            frame = [old_ss, state.rsp, *frame]
        elif cpl:
            rsp, selector = space.read(tss.base + 4, 4), space.read(tss.base + 8, 2)
            ss = _descriptor(space, state.segments["gdt"], selector)
            frame = [old_ss, state.rsp, *frame]
        width = 8 if wide else 4
        mask = (1 << 8 * width) - 1
        rsp = rsp - width * len(frame) & mask
        data = b"".join((value & mask).to_bytes(width, "little") for value in reversed(frame))
        space.write(rsp, data)
    except NotMapped as fault:
        raise BadGate(f"vector {vector}: no memory for it at {fault.args[0]:#x}") from None
    flags = state.rflags & ~TRAP_FLAGS & ~(INTERRUPT_FLAG if kind == INTERRUPT_GATE else 0)
    return Entry(offset, flags, rsp, cs, ss)


def _descriptor(space: AddressSpace, gdt: Segment, selector: int) -> Segment:
    """A present code or data segment from the GDT. Raises BadGate, NotMapped."""
    raw = space.read(gdt.base + selector, 8) if 4 <= selector <= gdt.limit - 7 else 0
    if raw >> 47 & 1 == 0 or raw >> 44 & 1 == 0:
        raise BadGate(f"segment {selector:#x} is not in the GDT")
    limit = raw & 0xFFFF | raw >> 32 & 0xF0000
    limit = limit << 12 | 0xFFF if raw >> 55 & 1 else limit
    return Segment(selector, raw >> 16 & 0xFFFFFF | raw >> 32 & 0xFF000000, limit, raw >> 32)
