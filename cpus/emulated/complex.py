"""The emulated back end: the vCPUs of one guest, run by Unicorn one at a time.

A slice of instructions each (`vcpu.py`), handed over in order of arrival: so locked instructions
are atomic among them though Unicorn's are not, and who decides the order of turns decides
everything. While a vCPU waits for the bus, others have turns.
"""

import gc
from collections.abc import Callable
from typing import Final

from cpus.emulated.dirty import Comparison
from cpus.emulated.turn import Turn
from cpus.emulated.vcpu import EmulatedVcpu
from cpus.wiring import Wiring
from microhypervisor.cpu.protocol import Vcpu
from microhypervisor.errors import PeerFault
from microhypervisor.memory.ram import PAGE, DirtyPages, GuestMemory

MOST_VCPUS: Final = 16  # each engine reserves much address space, and they take turns anyway


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

    def __init__(self, memory: GuestMemory, vcpus: int, kernel_irqchip: bool = False) -> None:
        if kernel_irqchip:
            raise PeerFault(
                "the emulated CPU has no kernel's interrupt controller: leave kernel_irqchip out"
            )
        if not 1 <= vcpus <= MOST_VCPUS:
            raise PeerFault(f"{vcpus} vCPUs: the emulated CPU gives a guest 1 to {MOST_VCPUS}")
        self.turn = Turn()
        self.wiring = Wiring()
        self.dirty: DirtyPages | None = None  # what the vCPUs write; each follows at its next slice
        self._memory = memory
        self._comparison: Comparison | None = None
        self._emulated = [EmulatedVcpu(self, memory, index) for index in range(vcpus)]
        self.wiring.connect(list(self._emulated))
        self.vcpus: list[Vcpu] = list(self._emulated)

    def doorbell(self, _address: int, _value: int, _eventfd: int) -> bool:
        """No: the write arrives on the bus."""
        return False

    def interrupt_line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread, also later."""
        return self.wiring.line(irq)

    def track_dirty(self, on: bool) -> None:
        """Begin to note which pages the guest writes, with none noted yet; or end it."""
        with self.turn:
            self.dirty = DirtyPages(self._memory.size // PAGE) if on else None
            self._comparison = Comparison(self._memory) if on else None

    def take_dirty(self) -> bytearray:
        """What was noted since the last time; vCPUs may run."""
        with self.turn:
            dirty = self.dirty or DirtyPages(self._memory.size // PAGE)
            if self._comparison:
                self._comparison.mark_changed(dirty)
            return dirty.take()

    def memory_changed(self) -> None:
        """Drop what was translated. No vCPU runs meanwhile."""
        for vcpu in self._emulated:
            vcpu.flush()

    def close(self) -> None:
        """Give everything back. No vCPU runs any more."""
        for vcpu in self._emulated:
            vcpu.close()
        gc.collect()  # Unicorn's Python objects are cycles that hold a gigabyte of addresses each
