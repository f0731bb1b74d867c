"""What the core asks of a CPU back end; KVM and the emulator are the two that exist.

A *processor complex* (`Complex`) is what one guest sees of the hardware below virtio: its vCPUs,
its interrupt controllers (local APICs and one 24-pin IO-APIC, wired edge-triggered), and its view
of guest RAM. Everything else that a guest touches comes back to the core through a `Bus`.

Threads: each `Vcpu` is run by one thread of its own. `kick`, `pulse` and the bus are called from
any thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from microhypervisor.memory.ram import GuestMemory


class Stop(Enum):
    """Why `Vcpu.run` came back."""

    KICKED = "kicked"  # somebody called kick()
    HALTED = "halted"  # HLT with nothing pending, unless the vCPU sleeps inside (Complex)
    BUDGET = "budget"  # only of back ends that can count instructions
    TRIPLE_FAULT = "triple fault"
    FAILED = "failed"  # the CPU cannot go on; report() says why


class Bus(Protocol):
    """Guest accesses outside RAM. Called on the vCPU's thread; sizes are 1, 2, 4 (MMIO also 8).

    A handler that wants its vCPU back in the core kicks it: `Vcpu.run` then returns KICKED after
    the access has been completed in the guest.
    """

    def port_in(self, port: int, size: int) -> int:
        """IN, zero-extended."""

    def port_out(self, port: int, size: int, value: int) -> None:
        """OUT."""

    def mmio_read(self, address: int, size: int) -> int:
        """Read what is not RAM or ROM."""

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Write to what is not RAM."""


@dataclass(frozen=True, slots=True)
class Registers:
    """vCPU 0 at its first instruction; segments are flat, base 0, 4 GiB."""

    rip: int
    rsp: int = 0
    rflags: int = 2
    rbx: int = 0
    rsi: int = 0
    cr0: int = 1
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    code64: bool = False


class Vcpu(Protocol):
    """One virtual processor."""

    index: int
    exits: dict[str, int]  # how often the guest came back, by reason; all there from the start;
    # written by run(), read by anyone
    wake: Callable[[], None]  # set by the scheduler; the back end calls it when an interrupt
    # arrives for a vCPU that had returned HALTED or that waits for start-up

    def reset(self, registers: Registers) -> None:
        """Put vCPU 0 at its first instruction."""

    def run(self, bus: Bus) -> Stop:
        """Run until something that is not the bus's business happens."""

    def kick(self) -> None:
        """Make run() return KICKED soon; before run() is entered, at once. From any thread."""

    def runnable(self) -> bool:
        """Whether run() would execute guest code: started, and not halted without an interrupt."""

    def report(self) -> str:
        """Registers and the reason of the last failure, some lines. Only while not running."""


class Complex(Protocol):
    """The processors, interrupt controllers and address map of one guest."""

    name: str  # of the back end
    vcpus: list[Vcpu]
    sleeps_inside: bool  # a halted vCPU sleeps inside run(): the kernel's interrupt controller

    def doorbell(self, address: int, value: int, eventfd: int) -> bool:
        """Signal eventfd when the guest writes `value` (4 bytes) at `address`, without an exit.

        False if this back end cannot; the write then arrives on the bus.
        """

    def interrupt_line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread."""

    def track_dirty(self, on: bool) -> None:
        """Begin to note which pages the guest writes, with none noted yet; or end it."""

    def take_dirty(self) -> bytearray:
        """What was noted since the last time, as DirtyPages.take gives it; vCPUs may run."""

    def memory_changed(self) -> None:
        """The core wrote guest RAM that may hold code (loading); drop what was translated."""

    def close(self) -> None:
        """Give everything back. No vCPU runs any more."""


class BackEnd(Protocol):
    """What an entry point in the group `splitvisor.cpus` is: a Complex's class will do."""

    def problem(self) -> str:
        """Why it cannot be used on this host, with the cure; empty when it can."""

    def prepare(self) -> None:
        """Whatever the process needs once; on its main thread, before any vCPU runs."""

    def __call__(self, memory: GuestMemory, vcpus: int, kernel_irqchip: bool = False) -> Complex:
        """Processors for one guest, interrupted by their own APICs or by those of the kernel.

        EnvironmentFault; PeerFault for what it cannot have.
        """
