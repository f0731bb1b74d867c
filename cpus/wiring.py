"""How interrupts reach the vCPUs of one guest whose APICs live here: pins, messages, start-up.

One lock guards all APICs of a guest and what interrupts know of its vCPUs. A message that concerns
a vCPU sets its `attention` under the lock; afterwards, without the lock, the vCPU is told to look.
"""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from cpus import apic
from microhypervisor.errors import PeerFault

LOCAL_APIC_PAGE: Final = 0xFEE00
IO_APIC_PAGE: Final = 0xFEC00
T = TypeVar("T")


class Processor:
    """What interrupts know of a vCPU. All but `wake`, `runnable` and `look` under the lock."""

    def __init__(self, index: int, wiring: "Wiring") -> None:
        self.index = index
        self.wake: Callable[[], None] = lambda: None
        self.apic = apic.LocalApic(index, wiring.send)
        self.halted = self.deaf = False  # deaf: halted with interrupts disabled
        self.attention = False  # something arrived; for the vCPU's own thread to clear
        self._wiring = wiring
        self._waiting = index > 0  # for INIT and SIPI
        self._start_page: int | None = None

    def runnable(self) -> bool:
        """Whether run() would execute guest code: started, and not halted without an interrupt."""
        with self._wiring.lock:
            return self.ready()

    def ready(self) -> bool:
        """The same, with the lock held."""
        if self._waiting:
            return self._start_page is not None
        return not self.halted or (self.apic.pending() and not self.deaf)

    def started(self) -> int | None:
        """The page of a start-up interrupt that has just come, where real mode begins."""
        page = self._start_page
        if page is not None:
            self._start_page, self._waiting, self.halted = None, False, False
        return page

    def halt(self, deaf: bool) -> None:
        """It has executed HLT; takes the lock itself."""
        with self._wiring.lock:
            self.halted, self.deaf = True, deaf

    def take(self, message: apic.Message) -> bool:
        """A message for this local APIC; True: have the vCPU look."""
        if message.mode in (apic.FIXED, apic.LOWEST):
            self.apic.accept(message.vector)
            self.attention = True
            return self.ready() and self.apic.pending()
        if message.mode == apic.INIT and message.low & apic.ASSERT:
            self.apic.reset()
            runs = not self._waiting and not self.halted
            self._waiting, self._start_page, self.attention = True, None, True
            return runs  # and has to stop
        if message.mode == apic.STARTUP and self._waiting:
            self._start_page, self.attention = message.vector, True
            return True
        return False

    def look(self) -> None:
        """Something arrived. Any thread, without the lock."""
        if self.halted or self._waiting:
            self.wake()

    def unit(
        self, address: int, page: int = LOCAL_APIC_PAGE
    ) -> "apic.LocalApic | apic.IoApic | None":
        """What answers at a physical address, with the local APIC at `page`."""
        if address >> 12 == page:
            return self.apic
        return self._wiring.io_apic if address >> 12 == IO_APIC_PAGE else None


class Wiring:
    """The APICs of one guest."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.io_apic = apic.IoApic(self.send)
        self._processors: list[Processor] = []
        self._apics: list[apic.LocalApic] = []
        self._touched: list[Processor] = []

    def connect(self, processors: list[Processor]) -> None:
        """All processors of the guest, by index."""
        self._processors = processors
        self._apics = [processor.apic for processor in processors]

    def send(self, message: apic.Message) -> None:
        """Bring a message to the local APICs that it is for; only from within access()."""
        for index in apic.receivers(message, self._apics):
            if self._processors[index].take(message):
                self._touched.append(self._processors[index])

    def access(self, what: Callable[[], T]) -> T:
        """Do something to an APIC, and afterwards, without the lock, tell whom it concerns."""
        with self.lock:
            result = what()
            touched, self._touched = self._touched, []
        for processor in touched:
            processor.look()
        return result

    def line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread, also later."""
        if not 0 <= irq < apic.IOAPIC_PINS:
            raise PeerFault(f"irq {irq}: the IO-APIC has pins 0 to {apic.IOAPIC_PINS - 1}")
        return lambda: self.access(lambda: self.io_apic.pulse(irq))
