"""A KVM vCPU whose APIC lives here: HLT comes back, so that halts and wake-ups are exact.

An interrupt for a vCPU inside KVM_RUN takes it out by `immediate_exit` and a signal, as a kick
does, and it enters again with the interrupt; nobody else notices. KVM says after each run whether
an interrupt could go in now; if not, an interrupt window is asked for.

Without the kernel's APIC a vCPU that waits for INIT and SIPI is an ordinary one to KVM. It is kept
out of KVM_RUN until its own thread has given it the registers of a start-up.
"""

import mmap
import signal
from contextlib import suppress
from fcntl import ioctl
from typing import Final

from cpus.apic import TPR
from cpus.kvm import abi, registers
from cpus.kvm.vcpu import KICK_SIGNAL, KvmVcpu
from cpus.wiring import Processor, Wiring
from microhypervisor.cpu.protocol import Bus, Registers, Stop
from microhypervisor.memory.ram import GuestMemory

NOWHERE: Final = -1  # the page of an APIC that software has switched off


class ApicVcpu(KvmVcpu, Processor):
    """A vCPU of a machine whose APICs are those of `cpus.apic`."""

    def __init__(
        self, index: int, fd: int, run: mmap.mmap, memory: GuestMemory, wiring: Wiring
    ) -> None:
        Processor.__init__(self, index, wiring)
        KvmVcpu.__init__(self, index, fd, run, memory)
        registers.enable_apic(fd, index)
        self.attention = True  # there may be nothing to run yet; so it stays while halted
        self._cr8 = 0

    def reset(self, registers_: Registers) -> None:
        """Put vCPU 0 at its first instruction."""
        self._run[abi.RUN_READY] = 0
        super().reset(registers_)

    def runnable(self) -> bool:
        """Whether run() would execute guest code: started, and not halted without an interrupt."""
        return Processor.runnable(self)

    def _attend(self) -> Stop | None:
        run, vector = self._run, -1
        with self._wiring.lock:
            page = self.started()
            if not self.ready():
                return Stop.KICKED if self._kicked and self._interrupted() else Stop.HALTED
            self.attention = False
            run[abi.RUN_REQUEST_WINDOW] = 0
            if page is None:
                self._follow_cr8()
                if self.apic.pending() and run[abi.RUN_READY] and run[abi.RUN_IF]:
                    vector, self.halted = self.apic.acknowledge(), False
                # Not every KVM tells when CR8 is lowered: look again and again.
                held_back = self._cr8 and self.apic.requested
                run[abi.RUN_REQUEST_WINDOW] = bool(held_back or self.apic.pending())
        if page is not None:
            self._start(page)
        elif vector >= 0:
            ioctl(self._fd, abi.INTERRUPT, abi.VECTOR.pack(vector))
        return None

    def _follow_cr8(self) -> None:
        """CR8 is the local APIC's task priority, but KVM has it."""
        if self._run[abi.RUN_CR8] != self._cr8:
            self._cr8 = self._run[abi.RUN_CR8]
            self.apic.write(TPR, self._cr8 << 4)

    def _start(self, page: int) -> None:
        """Real mode, after KVM has finished what INIT interrupted."""
        self._run[abi.RUN_IMMEDIATE_EXIT] = 1
        with suppress(InterruptedError):
            while True:
                ioctl(self._fd, abi.RUN, 0)
        with self._lock:
            self._run[abi.RUN_IMMEDIATE_EXIT] = self._kicked or self.attention
        self._run[abi.RUN_CR8] = self._run[abi.RUN_READY] = self._cr8 = 0
        registers.start_real(self._fd, page)

    def _mmio(self, bus: Bus) -> None:
        """The APICs answer for themselves."""
        run = self._run
        address, data, _, write = abi.MMIO.unpack_from(run, abi.RUN_UNION)
        (base,) = abi.APIC_BASE.unpack_from(run, abi.RUN_APIC_BASE)
        unit = self.unit(address, base >> 12 if base & registers.APIC_ENABLED else NOWHERE)
        if unit is None:
            super()._mmio(bus)
            return
        self.exits["apic"] += 1
        offset = address & 0xFFF
        with self._wiring.lock:
            self._follow_cr8()
        if not write:
            value = self._wiring.access(lambda: unit.read(offset))
            abi.DATA.pack_into(run, abi.RUN_MMIO_DATA, value)
            return
        self._wiring.access(lambda: unit.write(offset, data & 0xFFFFFFFF))
        if unit is self.apic and offset == TPR:
            run[abi.RUN_CR8] = self._cr8 = data >> 4 & 0xF
        self.attention = True

    def _other(self, reason: int) -> Stop | None:
        if reason == abi.EXIT_HLT:
            self.exits["halt"] += 1
            self.halt(deaf=not self._run[abi.RUN_IF])
        elif reason == abi.EXIT_IRQ_WINDOW_OPEN:
            self.exits["interrupt-window"] += 1
        elif reason != abi.EXIT_SET_TPR:
            return super()._other(reason)
        self.attention = True
        return None

    def look(self) -> None:
        """Something arrived: out of KVM_RUN, or awake."""
        with self._lock:
            if self._inside:
                self._run[abi.RUN_IMMEDIATE_EXIT] = 1
                signal.pthread_kill(self._thread, KICK_SIGNAL)
                return
        Processor.look(self)
