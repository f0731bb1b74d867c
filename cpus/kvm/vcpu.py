"""One vCPU of KVM: the loop around KVM_RUN, and how it is ended from outside.

This one is interrupted by the kernel: a halted vCPU sleeps inside KVM_RUN, and those after vCPU 0
wait there for INIT and SIPI. `core_apic.py` has the other kind.

Kicks are never lost: `immediate_exit` makes the next KVM_RUN finish the access under way and
return, and a signal takes the thread out of one that has begun. After an access the bus has
answered, it is the next KVM_RUN that completes it in the guest, which is why `run` never leaves
between the two.
"""

import ctypes
import mmap
import signal
import threading
from collections.abc import Callable
from fcntl import ioctl
from typing import Final

from cpus.kvm import abi, registers
from microhypervisor.cpu.protocol import Bus, Registers, Stop
from microhypervisor.memory.ram import GuestMemory

KICK_SIGNAL = signal.SIGUSR1
REASONS: Final = ("port", "mmio", "apic", "halt", "interrupt", "interrupt-window", "kick", "other")
WHOLE: Final = {size: (1 << 8 * size) - 1 for size in (1, 2, 4, 8)}  # accesses, and their masks


def install_kick_signal() -> None:
    """Let SIGUSR1 end a KVM_RUN and nothing more. In the main thread, before any vCPU runs.

    The handler is the C library's abs(), which does nothing: one of Python's would wake the main
    thread each time.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(KICK_SIGNAL, ctypes.cast(libc.abs, ctypes.c_void_p))


class KvmVcpu:
    """A vCPU of a machine whose APICs the kernel has."""

    attention = False  # whether to look at interrupts before the next KVM_RUN

    def __init__(self, index: int, fd: int, run: mmap.mmap, memory: GuestMemory) -> None:
        self.index = index
        self.exits = dict.fromkeys(REASONS, 0)
        self.wake: Callable[[], None] = lambda: None
        self._fd = fd
        self._run = run
        self._memory = memory
        self._lock = threading.Lock()  # so that no signal goes to a thread that has left
        self._thread = 0
        self._running = self._inside = self._kicked = False  # inside: of KVM_RUN, or about to be
        self._reason = "no failure"
        self._code = b""

    def reset(self, registers_: Registers) -> None:
        """Put vCPU 0 at its first instruction."""
        registers.start_flat(self._fd, registers_)

    def run(self, bus: Bus) -> Stop:
        """Run until something that is not the bus's business happens."""
        with self._lock:
            self._thread, self._running = threading.get_ident(), True
        try:
            return self._loop(bus)
        finally:
            with self._lock:
                self._running = self._inside = False

    def _loop(self, bus: Bus) -> Stop:
        run, fd = self._run, self._fd
        while True:
            self._inside = True  # before the look: what arrives later finds it so
            if self.attention and (stop := self._attend()):
                return stop
            try:
                ioctl(fd, abi.RUN, 0)
            except (InterruptedError, BlockingIOError):
                # BlockingIOError: a waiting vCPU was woken by INIT or SIPI; enter again.
                if self._interrupted():
                    return Stop.KICKED
                continue
            except OSError as error:
                self._reason, self._code = f"KVM_RUN failed: {error.strerror}", b""
                return Stop.FAILED
            self._inside = False
            (reason,) = abi.EXIT_REASON.unpack_from(run, abi.RUN_EXIT_REASON)
            if reason == abi.EXIT_IO:
                self.exits["port"] += 1
                self._port(bus)
            elif reason == abi.EXIT_MMIO:
                self._mmio(bus)
            elif stop := self._other(reason):
                return stop

    def _interrupted(self) -> bool:
        """By a kick, rather than to look at interrupts; the order is that of kick(), reversed."""
        self._run[abi.RUN_IMMEDIATE_EXIT] = 0
        kicked, self._kicked = self._kicked, False
        self.exits["kick" if kicked else "interrupt"] += 1
        return kicked

    def _attend(self) -> Stop | None:
        """Look at interrupts. The kernel does."""
        return None

    def _port(self, bus: Bus) -> None:
        run = self._run
        write, size, port, count, data = abi.IO.unpack_from(run, abi.RUN_UNION)
        for at in range(data, data + count * size, size):
            if write:
                bus.port_out(port, size, int.from_bytes(run[at : at + size], "little"))
            else:
                value = bus.port_in(port, size) & WHOLE[size]
                run[at : at + size] = value.to_bytes(size, "little")

    def _mmio(self, bus: Bus) -> None:
        """An access that crosses a page comes in odd parts; the bus gets those byte by byte."""
        self.exits["mmio"] += 1
        run = self._run
        address, data, length, write = abi.MMIO.unpack_from(run, abi.RUN_UNION)
        size = length if length in WHOLE else 1
        for part in range(0, length, size):
            if write:
                bus.mmio_write(address + part, size, data >> 8 * part & WHOLE[size])
            else:
                at = abi.RUN_MMIO_DATA + part
                value = bus.mmio_read(address + part, size) & WHOLE[size]
                run[at : at + size] = value.to_bytes(size, "little")

    def _other(self, reason: int) -> Stop | None:
        """Exits that end a run: a shutdown, or something that cannot be done."""
        self.exits["other"] += 1
        if reason == abi.EXIT_SHUTDOWN:
            self._reason, self._code = Stop.TRIPLE_FAULT.value, b""
            return Stop.TRIPLE_FAULT
        # detail: what KVM says first about the exit; then the instruction, if KVM names it
        detail, count = abi.DETAIL.unpack_from(self._run, abi.RUN_UNION)
        name = abi.EXIT_NAMES.get(reason, "unknown exit")
        self._reason, self._code = f"{name} (exit {reason}, detail {detail:#x})", b""
        if (reason, detail) == (abi.EXIT_INTERNAL_ERROR, abi.SUBERROR_EMULATION) and count:
            at = abi.RUN_UNION + abi.DETAIL.size
            flags, length, code = abi.EMULATION.unpack_from(self._run, at)
            self._code = code[:length] if flags & 1 else b""
        return Stop.FAILED

    def kick(self) -> None:
        """Make run() return KICKED soon; before run() is entered, make it return at once."""
        with self._lock:
            self._kicked = True
            self._run[abi.RUN_IMMEDIATE_EXIT] = 1
            if self._inside:
                signal.pthread_kill(self._thread, KICK_SIGNAL)

    def runnable(self) -> bool:
        """Whether run() would execute guest code now; while it runs, yes: KVM cannot be asked."""
        with self._lock:
            if self._running:
                return True
            state = bytearray(4)
            ioctl(self._fd, abi.GET_MP_STATE, state)
            if state[0] != abi.MP_STATE_HALTED:
                return state[0] in (abi.MP_STATE_RUNNABLE, abi.MP_STATE_SIPI_RECEIVED)
            apic = bytearray(abi.LAPIC_SIZE)
            ioctl(self._fd, abi.GET_LAPIC, apic)
            pending = apic[abi.LAPIC_IRR : abi.LAPIC_IRR + 0x80]
            return any(pending)

    def report(self) -> str:
        """Registers and the reason of the last failure, some lines of text."""
        return registers.describe(self._fd, self._memory, self.index, self._reason, self._code)
