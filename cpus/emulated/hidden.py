"""The processor state that Unicorn's register interface cannot set: segments and privilege level.

In 64-bit mode that interface writes a segment's selector and nothing else; base, limit, attributes
and the privilege level ("hflags") stay. A saved context holds them, one C structure that follows
QEMU 5's CPUX86State. It is patched in place, at the offset where the general registers are found
when the engine is new; the layout is checked then, so that another Unicorn is refused, not misused.

It also holds the exception in flight, for Unicorn to find double faults. That ends when Unicorn has
entered the handler, which it never does here; so it is ended here, or the second page fault ever
would be a double fault.
"""

import ctypes
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from unicorn import x86_const as x86

from cpus.emulated.interrupts import Segment
from microhypervisor.errors import EnvironmentFault

REGISTERS: Final = ("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI")
NAMES: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr", "gdt", "idt")
FLAGS_OFFSET: Final = 176  # behind 16 general registers, RIP, RFLAGS and the lazy arithmetic flags
SEGMENTS_OFFSET: Final = FLAGS_OFFSET + 8
FLAGS = Struct("<I")
SEGMENT = Struct("<I4xQII")
CONTROL = Struct("<9Q")
DEBUG_OFFSET: Final = 5448
DEBUG = Struct("<QQ32xi")  # DR6, DR7, Unicorn's breakpoints, the exception in flight
DEBUG_RESET: Final = (0xFFFF0FF0, 0x400, -1)
IN_FLIGHT = Struct("<i")
IN_FLIGHT_OFFSET: Final = DEBUG_OFFSET + DEBUG.size - IN_FLIGHT.size
STATE_SIZE: Final = DEBUG_OFFSET + DEBUG.size

# hflags
CPL, SHADOW, CODE32, STACK32, ADD_BASE, PROTECTED = 3, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
LONG_MODE, CODE64 = 1 << 14, 1 << 15
# Attributes, as in the upper half of a descriptor
BIG, LONG_CODE = 1 << 22, 1 << 21


@dataclass(slots=True)
class Inner:
    """hflags, segments and tables by name, CR0 to CR8."""

    flags: int
    segments: dict[str, Segment]
    control: tuple[int, ...]

    def settle(self) -> None:
        """Make hflags say what the code and stack segments imply."""
        code, stack = self.segments["cs"], self.segments["ss"]
        self.flags &= ~(CPL | CODE32 | STACK32 | CODE64 | ADD_BASE | SHADOW)
        self.flags |= stack.attributes >> 13 & CPL
        if self.flags & LONG_MODE and code.attributes & LONG_CODE:
            self.flags |= CODE32 | STACK32 | CODE64
            return
        self.flags |= CODE32 if code.attributes & BIG else 0
        self.flags |= STACK32 if stack.attributes & BIG else 0
        based = any(self.segments[name].base for name in ("ds", "es", "ss"))
        if based or not self.flags & PROTECTED or not self.flags & CODE32:
            self.flags |= ADD_BASE


class Hidden:
    """Reads and writes Inner of one engine, between its runs."""

    def __init__(self, uc: Any) -> None:
        self._uc = uc
        marks = [0x5EED_0000_0000_0000 + index for index in range(len(REGISTERS))]
        for name, mark in zip(REGISTERS, marks, strict=True):
            uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), mark)
        self._context = uc.context_save()
        place = bytes(self._context).find(Struct(f"<{len(marks)}Q").pack(*marks))
        if place < 0:
            raise EnvironmentFault("this Unicorn keeps its registers elsewhere: use unicorn 2.1.4")
        state = ctypes.c_char * STATE_SIZE
        self._state = memoryview(state.from_address(self._context.context.value + place)).cast("B")
        inner = self.read()
        if inner.flags & ~CPL & 0xFFFF != LONG_MODE | CODE64 | CODE32 | STACK32 | PROTECTED:
            raise EnvironmentFault("this Unicorn keeps its segments elsewhere: use unicorn 2.1.4")
        if DEBUG.unpack_from(self._state, DEBUG_OFFSET) != DEBUG_RESET:
            raise EnvironmentFault("this Unicorn keeps exceptions elsewhere: use unicorn 2.1.4")

    def read(self) -> Inner:
        """The state now."""
        self._uc.context_update(self._context)
        (flags,) = FLAGS.unpack_from(self._state, FLAGS_OFFSET)
        end = SEGMENTS_OFFSET + len(NAMES) * SEGMENT.size
        segments = map(Segment._make, SEGMENT.iter_unpack(self._state[SEGMENTS_OFFSET:end]))
        control = CONTROL.unpack_from(self._state, end)
        return Inner(flags, dict(zip(NAMES, segments, strict=True)), control)

    def write(self, inner: Inner) -> None:
        """Set hflags, segments and tables; no exception is in flight. The rest is as at read()."""
        FLAGS.pack_into(self._state, FLAGS_OFFSET, inner.flags)
        IN_FLIGHT.pack_into(self._state, IN_FLIGHT_OFFSET, -1)
        for place, segment in enumerate(inner.segments.values()):
            SEGMENT.pack_into(self._state, SEGMENTS_OFFSET + place * SEGMENT.size, *segment)
        self._uc.context_restore(self._context)
