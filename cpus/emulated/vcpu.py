"""One emulated vCPU: slices of instructions by Unicorn, exceptions and interrupts in between.

Interrupts are looked at between slices, but not right after STI or a load of SS, where processors
hold them back too. A kick is a flag that is looked at between slices; on the vCPU's own thread
(from the bus) it also ends the slice. So neither is lost, and no other thread touches an engine.

Unicorn does not tell error codes: handlers get 0, but for page faults whether the page was present
and whether the access came from CPL 3. Exceptions in real mode end the guest.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from unicorn.unicorn import UcError

from cpus.emulated import interrupts
from cpus.emulated.engine import End, Engine
from cpus.emulated.interrupts import BadGate, Refused
from cpus.emulated.paging import NotMapped
from cpus.wiring import Processor
from microhypervisor.cpu.protocol import Bus, Registers, Stop
from microhypervisor.memory.ram import GuestMemory

if TYPE_CHECKING:
    from cpus.emulated.complex import EmulatedComplex

REASONS: Final = ("port", "mmio", "apic", "halt", "kick", "budget")
SLICE: Final = 20_000  # instructions: long enough for speed (80 M/s), short beside a round trip
# While an interrupt waits for IF; without a common factor, so that the end of a slice falls into
# every place of a loop like `sti; nop; cli; jmp`.
WINDOW_SLICES: Final = (31, 37)
INT: Final = 0xCD  # opcode
T = TypeVar("T")


class EmulatedVcpu(Processor):
    """One emulated vCPU; the ones after vCPU 0 wait for INIT and SIPI."""

    def __init__(self, machine: "EmulatedComplex", memory: GuestMemory, index: int) -> None:
        super().__init__(index, machine.wiring)
        self.exits = dict.fromkeys(REASONS, 0)
        self.instructions = 0  # executed so far
        self._left: int | None = None
        self._machine = machine
        self._engine = Engine(memory, self, index)
        self._bus: Bus | None = None
        self._thread: int | None = None
        self._kicked = False
        self._window = 0
        self._reason = "no failure"

    def reset(self, registers: Registers) -> None:
        """Put vCPU 0 at its first instruction."""
        self._engine.start_flat(registers)

    def flush(self) -> None:
        """Forget translated code."""
        self._engine.flush()

    def run(self, bus: Bus, budget: int | None = None) -> Stop:
        """Run until something that is not the bus's business happens.

        With a budget, BUDGET once exactly that many instructions were executed. Each counts once,
        also one that fails; a REP as often as it repeats, and once more.
        """
        self._bus = bus
        self._left = budget
        self._thread = threading.get_ident()
        try:
            while True:
                with self._machine.turn:
                    if self._kicked:
                        self._kicked = False
                        self.exits["kick"] += 1
                        return Stop.KICKED
                    if self._left is not None and self._left <= 0:
                        self.exits["budget"] += 1
                        return Stop.BUDGET
                    if stop := self._slice():
                        return stop
        except BadGate as fault:
            self._reason = f"{Stop.TRIPLE_FAULT.value}: {fault}"
            return Stop.TRIPLE_FAULT
        except UcError as error:
            self._reason = f"the emulator cannot go on: {error}"
            return Stop.FAILED
        finally:
            self._thread = None

    def _slice(self) -> Stop | None:
        with self._wiring.lock:
            if (page := self.started()) is not None:
                self._engine.flush()
                self._engine.start_real(page)
            if not self.ready():
                return Stop.HALTED
            vector, count = self._interrupt()
        self._engine.note_writes(self._machine.dirty)
        if vector is not None:
            self._inject(vector, None)
        end = self._engine.run(count if self._left is None else min(count, self._left))
        self.instructions += self._engine.executed
        if self._left is not None:
            self._left -= self._engine.executed
        if end is End.HALT:
            self.exits["halt"] += 1
            self.halt(deaf=not self._engine.interruptible())
        elif end is End.EXCEPTION:
            self._raise(self._engine.exception)
        return None

    def _interrupt(self) -> tuple[int | None, int]:
        """The interrupt to deliver now, and how many instructions to run then."""
        if not self.apic.pending():
            return None, SLICE
        if not self._engine.interruptible():
            self._window = 1 - self._window
            return None, WINDOW_SLICES[self._window]
        if not self.halted and self._engine.in_shadow():
            return None, 1
        self.halted = False
        return self.apic.acknowledge(), SLICE

    def _raise(self, vector: int) -> None:
        """Deliver an exception that Unicorn found."""
        error = None
        software = self._engine.before(2) == vector << 8 | INT
        if vector in interrupts.WITH_ERROR_CODE and not software:
            error = self._page_fault_code() if vector == interrupts.PAGE_FAULT else 0
        self._inject(vector, error, software)

    def _inject(self, vector: int, error: int | None, software: bool = False) -> None:
        """Enter a handler; if its gate is bad, that of the double fault. Raises BadGate."""
        engine = self._engine
        space, state = engine.space(), engine.state()
        try:
            try:
                entry = interrupts.enter(space, state, vector, error, software)
            except Refused as refused:
                state, gate = replace(state, rip=state.rip - 2), interrupts.GENERAL_PROTECTION
                entry = interrupts.enter(space, state, gate, refused.error)
        except BadGate:
            entry = interrupts.enter(space, state, interrupts.DOUBLE_FAULT, 0)
        engine.enter(entry)

    def _page_fault_code(self) -> int:
        user = 4 if self._engine.state().segments["cs"].selector & 3 else 0
        try:
            self._engine.space().translate(self._engine.fault_address)
        except NotMapped:
            return user
        return user | 1

    def kick(self) -> None:
        """Make run() return KICKED soon; before run() is entered, make it return at once."""
        self._kicked = True
        if self._thread == threading.get_ident():
            self._engine.stop()

    def report(self) -> str:
        """Registers and the reason of the last failure, some lines of text."""
        return self._engine.report(self.index, self._reason)

    def port_in(self, port: int, size: int) -> int:
        """IN: the bus answers."""
        return self._outside("port", lambda bus: bus.port_in(port, size)) & (1 << 8 * size) - 1

    def port_out(self, port: int, size: int, value: int) -> None:
        """OUT: the bus takes it."""
        value &= (1 << 8 * size) - 1
        self._outside("port", lambda bus: bus.port_out(port, size, value))

    def mmio_read(self, address: int, size: int) -> int:
        """The APICs answer for themselves, the bus for everything else."""
        mask = (1 << 8 * size) - 1
        if unit := self.unit(address):
            self.exits["apic"] += 1
            return self._wiring.access(lambda: unit.read(address & 0xFFF)) & mask
        return self._outside("mmio", lambda bus: bus.mmio_read(address, size)) & mask

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """What lets an interrupt in ends the slice."""
        if unit := self.unit(address):
            self.exits["apic"] += 1
            self._wiring.access(lambda: unit.write(address & 0xFFF, value & 0xFFFFFFFF))
            if self.apic.pending():
                self._engine.stop()
        else:
            self._outside("mmio", lambda bus: bus.mmio_write(address, size, value))

    def _outside(self, reason: str, ask: Callable[[Bus], T]) -> T:
        """Ask the bus, with the turn given up for as long as it takes."""
        assert self._bus is not None
        self.exits[reason] += 1
        self._machine.turn.give()
        try:
            return ask(self._bus)
        finally:
            self._machine.turn.take()
            if self._engine.dirty is not self._machine.dirty:
                self._engine.stop()

    def close(self) -> None:
        """Give the engine back."""
        self._engine.close()
