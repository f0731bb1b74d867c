"""The emulated back end: vCPUs by Unicorn, APICs by `apic.py`, delivery by `interrupts.py`.

The vCPUs of one guest run one at a time, a slice of instructions each, handed over in order of
arrival: so locked instructions are atomic among them though Unicorn's are not, and who decides
the order of turns decides everything. While a vCPU waits for the bus, others have turns.

Interrupts are looked at between slices, but not right after STI or a load of SS, where processors
hold them back too. A kick is a flag that is looked at between slices; on the vCPU's own thread
(from the bus) it also ends the slice. So neither is lost, and no other thread touches an engine.

Unicorn does not tell error codes: handlers get 0, but for page faults whether the page was present
and whether the access came from CPL 3. Exceptions in real mode end the guest.
"""

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from unicorn.unicorn import UcError

from cpus.emulated import apic, interrupts
from cpus.emulated.engine import End, Engine
from cpus.emulated.interrupts import BadGate, Refused
from cpus.emulated.paging import NotMapped
from cpus.emulated.turn import Turn
from microhypervisor.cpu.protocol import Bus, Registers, Stop, Vcpu
from microhypervisor.errors import PeerFault
from microhypervisor.memory.ram import GuestMemory

SLICE: Final = 20_000  # instructions: long enough for speed (80 M/s), short beside a round trip
# While an interrupt waits for IF; without a common factor, so that the end of a slice falls into
# every place of a loop like `sti; nop; cli; jmp`.
WINDOW_SLICES: Final = (31, 37)
MOST_VCPUS: Final = 16  # each engine reserves much address space, and they take turns anyway
LOCAL_APIC_PAGE, IO_APIC_PAGE = 0xFEE00, 0xFEC00
INT: Final = 0xCD  # opcode
T = TypeVar("T")


class EmulatedVcpu:
    """One emulated vCPU; the ones after vCPU 0 wait for INIT and SIPI."""

    def __init__(self, machine: "EmulatedComplex", memory: GuestMemory, index: int) -> None:
        self.index = index
        self.exits = 0
        self.wake: Callable[[], None] = lambda: None
        self.apic = apic.LocalApic(index, machine.send)
        self._machine = machine
        self._engine = Engine(memory, self, index)
        self._bus: Bus | None = None
        self._thread: int | None = None
        self._kicked = False
        self._waiting = index > 0
        self._start_page: int | None = None
        self._halted = self._deaf = False  # deaf: halted with interrupts disabled
        self._window = 0
        self._reason = "no failure"

    def reset(self, registers: Registers) -> None:
        """Put vCPU 0 at its first instruction."""
        self._engine.start_flat(registers)

    def flush(self) -> None:
        """Forget translated code."""
        self._engine.flush()

    def run(self, bus: Bus) -> Stop:
        """Run until something that is not the bus's business happens."""
        self._bus = bus
        self._thread = threading.get_ident()
        try:
            while True:
                with self._machine.turn:
                    if self._kicked:
                        self._kicked = False
                        return Stop.KICKED
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
        with self._machine.lock:
            if self._start_page is not None:
                self._engine.flush()
                self._engine.start_real(self._start_page)
                self._start_page, self._waiting, self._halted = None, False, False
            if not self._ready():
                return Stop.HALTED
            vector, budget = self._interrupt()
        if vector is not None:
            self._inject(vector, None)
        end = self._engine.run(budget)
        if end is End.HALT:
            self.exits += 1
            with self._machine.lock:
                self._halted = True
                self._deaf = not self._engine.interruptible()
        elif end is End.EXCEPTION:
            self._raise(self._engine.exception)
        return None

    def _ready(self) -> bool:
        if self._waiting:
            return self._start_page is not None
        return not self._halted or (self.apic.pending() and not self._deaf)

    def _interrupt(self) -> tuple[int | None, int]:
        """The interrupt to deliver now, and how many instructions to run then."""
        if not self.apic.pending():
            return None, SLICE
        if not self._engine.interruptible():
            self._window = 1 - self._window
            return None, WINDOW_SLICES[self._window]
        if not self._halted and self._engine.in_shadow():
            return None, 1
        self._halted = False
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
            entry = interrupts.enter(space, state, vector, error, software)
        except Refused as refused:
            before = replace(state, rip=state.rip - 2)
            gate = interrupts.GENERAL_PROTECTION
            entry = interrupts.enter(space, before, gate, refused.error)
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

    def runnable(self) -> bool:
        """Whether run() would execute guest code: started, and not halted without an interrupt."""
        with self._machine.lock:
            return self._ready()

    def report(self) -> str:
        """Registers and the reason of the last failure, some lines of text."""
        return self._engine.report(self.index, self._reason)

    def take(self, message: apic.Message) -> bool:
        """A message for this local APIC, with the machine's lock held; True: wake this vCPU."""
        if message.mode in (apic.FIXED, apic.LOWEST):
            self.apic.accept(message.vector)
            return self._halted and self._ready()
        if message.mode == apic.INIT and message.low & apic.ASSERT:
            self.apic.reset()
            self._waiting, self._start_page = True, None
        elif message.mode == apic.STARTUP and self._waiting:
            self._start_page = message.vector
            return True
        return False

    def port_in(self, port: int, size: int) -> int:
        """IN: the bus answers."""
        return self._outside(lambda bus: bus.port_in(port, size)) & (1 << 8 * size) - 1

    def port_out(self, port: int, size: int, value: int) -> None:
        """OUT: the bus takes it."""
        self._outside(lambda bus: bus.port_out(port, size, value & (1 << 8 * size) - 1))

    def mmio_read(self, address: int, size: int) -> int:
        """The APICs answer for themselves, the bus for everything else."""
        mask = (1 << 8 * size) - 1
        if unit := self._unit(address):
            return self._machine.access(lambda: unit.read(address & 0xFFF)) & mask
        return self._outside(lambda bus: bus.mmio_read(address, size)) & mask

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """What lets an interrupt in ends the slice."""
        if unit := self._unit(address):
            self._machine.access(lambda: unit.write(address & 0xFFF, value & 0xFFFFFFFF))
            if self.apic.pending():
                self._engine.stop()
        else:
            self._outside(lambda bus: bus.mmio_write(address, size, value))

    def _unit(self, address: int) -> apic.LocalApic | apic.IoApic | None:
        page = address >> 12
        if page == LOCAL_APIC_PAGE:
            return self.apic
        return self._machine.io_apic if page == IO_APIC_PAGE else None

    def _outside(self, ask: Callable[[Bus], T]) -> T:
        """Ask the bus, with the turn given up for as long as it takes."""
        assert self._bus is not None
        self.exits += 1
        self._machine.turn.give()
        try:
            return ask(self._bus)
        finally:
            self._machine.turn.take()

    def close(self) -> None:
        """Give the engine back."""
        self._engine.close()


class EmulatedComplex:
    """The emulated processors of one guest and what connects their APICs."""

    name = "emulated"
    sleeps_inside = False

    @staticmethod
    def problem() -> str:
        """See BackEnd: it works everywhere."""
        return ""

    @staticmethod
    def prepare() -> None:
        """See BackEnd: nothing."""

    def __init__(self, memory: GuestMemory, vcpus: int) -> None:
        if not 1 <= vcpus <= MOST_VCPUS:
            raise PeerFault(f"{vcpus} vCPUs: the emulated CPU gives a guest 1 to {MOST_VCPUS}")
        self.turn = Turn()
        self.lock = threading.Lock()  # of the APICs and of who is halted or waiting
        self.io_apic = apic.IoApic(self.send)
        self._woken: list[EmulatedVcpu] = []
        self._emulated = [EmulatedVcpu(self, memory, index) for index in range(vcpus)]
        self._apics = [vcpu.apic for vcpu in self._emulated]
        self.vcpus: list[Vcpu] = list(self._emulated)

    def send(self, message: apic.Message) -> None:
        """Bring a message to the local APICs that it is for; only from within access()."""
        for index in apic.receivers(message, self._apics):
            if self._emulated[index].take(message):
                self._woken.append(self._emulated[index])

    def access(self, what: Callable[[], T]) -> T:
        """Do something to an APIC, and afterwards, without the lock, wake whom it concerns."""
        with self.lock:
            result = what()
            woken, self._woken = self._woken, []
        for vcpu in woken:
            vcpu.wake()
        return result

    def doorbell(self, _address: int, _value: int, _eventfd: int) -> bool:
        """No: the write arrives on the bus."""
        return False

    def interrupt_line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread, also later."""
        if not 0 <= irq < apic.IOAPIC_PINS:
            raise PeerFault(f"irq {irq}: the IO-APIC has pins 0 to {apic.IOAPIC_PINS - 1}")
        return lambda: self.access(lambda: self.io_apic.pulse(irq))

    def memory_changed(self) -> None:
        """Drop what was translated. No vCPU runs meanwhile."""
        for vcpu in self._emulated:
            vcpu.flush()

    def close(self) -> None:
        """Give everything back. No vCPU runs any more."""
        for vcpu in self._emulated:
            vcpu.close()
        gc.collect()  # Unicorn's Python objects are cycles that hold a gigabyte of addresses each
