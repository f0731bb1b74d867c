"""The KVM back end: one virtual machine, and what its vCPUs share.

Doorbells are taken by ioeventfds, so the core sees only the accesses that nobody else answers.
The APICs are the core's own (`core_apic.py`); or the kernel's, for guests that need their timers:
then interrupts go in by irqfds, and a halted vCPU sleeps inside KVM_RUN.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fcntl import ioctl

from cpus.apic import IOAPIC_PINS
from cpus.kvm import abi
from cpus.kvm.core_apic import ApicVcpu
from cpus.kvm.vcpu import KvmVcpu, install_kick_signal
from cpus.wiring import Wiring
from microhypervisor.cpu.protocol import Vcpu
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.memory.ram import PAGE, GuestMemory, RegionKind

DEVICE = "/dev/kvm"
CPUID_ENTRIES = 256  # twice what the longest table seen needs
# Four pages that Intel processors without "unrestricted guest" need for real mode, where QEMU
# has them too: below the ROM of 16 MiB under 4 GiB, above the local APICs.
IDENTITY_MAP = 0xFEFFC000
TSS = 0xFEFFD000
X2APIC, TSC_DEADLINE = 1 << 21, 1 << 24  # of CPUID leaf 1, ECX


def kvm_problem() -> str:
    """Why KVM cannot be used here, with the cure; empty when it can."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return (
            f"{DEVICE} does not exist: load the kvm_intel or kvm_amd module, or use --cpu emulated"
        )
    except PermissionError:
        return f"no permission on {DEVICE}: join the group kvm, or use --cpu emulated"
    except OSError as error:
        return f"cannot open {DEVICE}: {error.strerror}; use --cpu emulated"
    try:
        if ioctl(fd, abi.GET_API_VERSION, 0) != abi.API_VERSION:
            return f"{DEVICE} speaks another KVM API version: use --cpu emulated"
        for number, name in abi.CAPABILITIES.items():
            if ioctl(fd, abi.CHECK_EXTENSION, number) <= 0:
                return f"{DEVICE} lacks {name}: use a newer kernel, or --cpu emulated"
        os.close(ioctl(fd, abi.CREATE_VM, 0))
    except OSError as error:
        return f"{DEVICE} gives no virtual machine: {error.strerror}; use --cpu emulated"
    finally:
        os.close(fd)
    return ""


@contextmanager
def _told(what: str) -> Iterator[None]:
    """EnvironmentFault for what the kernel refuses, by KVM or for want of file descriptors."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"KVM cannot {what}: {error.strerror}; use --cpu emulated") from None


class _Line:
    """An IO-APIC pin, pulsed through an irqfd; harmless after close."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = True
        self._lock = threading.Lock()

    def pulse(self) -> None:
        with self._lock:
            if self._open:
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self.fd)


class KvmComplex:
    """One virtual machine of KVM."""

    name = "kvm"
    problem = staticmethod(kvm_problem)
    prepare = staticmethod(install_kick_signal)

    def __init__(self, memory: GuestMemory, vcpus: int, kernel_irqchip: bool = False) -> None:
        if problem := kvm_problem():
            raise EnvironmentFault(problem)
        self.sleeps_inside = kernel_irqchip
        self._memory = memory
        self._tracking = False
        self._wiring = Wiring()
        self._lines: dict[int, _Line] = {}
        with _told("make this guest"), ExitStack() as stack:
            kvm = self._own(stack, os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
            most = ioctl(kvm, abi.CHECK_EXTENSION, abi.CAP_MAX_VCPUS)
            if not 1 <= vcpus <= most:
                raise PeerFault(f"{vcpus} vCPUs: KVM gives a guest 1 to {most}")
            self._vm = self._own(stack, ioctl(kvm, abi.CREATE_VM, 0))
            self._prepare()
            self._map()
            self.vcpus = self._make_vcpus(stack, kvm, vcpus)
            self._stack = stack.pop_all()

    @staticmethod
    def _own(stack: ExitStack, fd: int) -> int:
        stack.callback(os.close, fd)
        return fd

    def _prepare(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ioctl(self._vm, ctypes.c_ulong(abi.SET_TSS_ADDR), ctypes.c_ulong(TSS)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        ioctl(self._vm, abi.SET_IDENTITY_MAP_ADDR, IDENTITY_MAP.to_bytes(8, "little"))
        if not self.sleeps_inside:
            return
        ioctl(self._vm, abi.CREATE_IRQCHIP, 0)
        # Pins of the IO-APIC only: the default also feeds the legacy PIC, which nobody masks.
        routing = bytearray(abi.ROUTING_HEADER.pack(IOAPIC_PINS, 0))
        for pin in range(IOAPIC_PINS):
            routing += abi.ROUTING_ENTRY.pack(
                pin, abi.ROUTING_IRQCHIP, 0, 0, abi.IRQCHIP_IOAPIC, pin
            )
        ioctl(self._vm, abi.SET_GSI_ROUTING, routing)

    def _map(self) -> None:
        """Guest memory, one slot for each region, RAM with or without a log of its dirty pages."""
        for slot, region in enumerate(self._memory.regions):
            ram = abi.MEM_LOG_DIRTY_PAGES if self._tracking else 0
            flags = abi.MEM_READONLY if region.kind is RegionKind.ROM else ram
            host = self._memory.host_address + region.offset
            entry = abi.MEMORY_REGION.pack(slot, flags, region.base, region.size, host)
            ioctl(self._vm, abi.SET_USER_MEMORY_REGION, entry)

    def _make_vcpus(self, stack: ExitStack, kvm: int, count: int) -> list[Vcpu]:
        size = ioctl(kvm, abi.GET_VCPU_MMAP_SIZE, 0)
        made: list[KvmVcpu] = []
        for index in range(count):
            fd = self._own(stack, ioctl(self._vm, abi.CREATE_VCPU, index))
            ioctl(fd, abi.SET_CPUID2, self._cpuid(kvm, index))
            run = mmap.mmap(fd, size)
            stack.callback(run.close)
            if self.sleeps_inside:
                made.append(KvmVcpu(index, fd, run, self._memory))
            else:
                made.append(ApicVcpu(index, fd, run, self._memory, self._wiring))
        self._wiring.connect([vcpu for vcpu in made if isinstance(vcpu, ApicVcpu)])
        return list(made)

    def _cpuid(self, kvm: int, index: int) -> bytearray:
        """What KVM supports, with the number and the abilities of the local APIC put in."""
        table = bytearray(abi.CPUID_HEADER.size + CPUID_ENTRIES * abi.CPUID_ENTRY.size)
        abi.CPUID_HEADER.pack_into(table, 0, CPUID_ENTRIES, 0)
        ioctl(kvm, abi.GET_SUPPORTED_CPUID, table)
        deadline = ioctl(kvm, abi.CHECK_EXTENSION, abi.CAP_TSC_DEADLINE_TIMER) > 0
        for place in range(abi.CPUID_HEADER.unpack_from(table)[0]):
            at = abi.CPUID_HEADER.size + place * abi.CPUID_ENTRY.size
            leaf, *rest, ebx, ecx, edx = abi.CPUID_ENTRY.unpack_from(table, at)
            if leaf == 1:
                ebx = ebx & 0xFFFFFF | index << 24
                if not self.sleeps_inside:
                    ecx &= ~(X2APIC | TSC_DEADLINE)
                elif deadline:
                    ecx |= TSC_DEADLINE
            elif leaf in (0xB, 0x1F):
                edx = index
            abi.CPUID_ENTRY.pack_into(table, at, leaf, *rest, ebx, ecx, edx)
        return table

    def doorbell(self, address: int, value: int, eventfd: int) -> bool:
        """Signal eventfd when the guest writes `value` (4 bytes) at `address`, without an exit."""
        event = abi.IOEVENT.pack(value, address, 4, eventfd, abi.IOEVENTFD_DATAMATCH)
        with _told("watch for one more doorbell of this guest"):
            ioctl(self._vm, abi.IOEVENTFD, event)
        return True

    def interrupt_line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread, also later."""
        pulse = self._wiring.line(irq)
        if not self.sleeps_inside:
            return pulse
        if irq not in self._lines:
            with _told("connect one more interrupt of this guest"):
                line = _Line()
                self._stack.callback(line.close)
                ioctl(self._vm, abi.IRQFD, abi.IRQ_EVENT.pack(line.fd, irq, 0, 0))
            self._lines[irq] = line
        return self._lines[irq].pulse

    def track_dirty(self, on: bool) -> None:
        """Have KVM log which pages the guest writes, with none noted yet; or no longer."""
        self._tracking = on
        self._map()
        self.take_dirty()

    def take_dirty(self) -> bytearray:
        """What was logged since the last time, as DirtyPages.take gives it; vCPUs may run."""
        pages = self._memory.size // PAGE
        dirty = 0
        for slot, region in enumerate(self._memory.regions):
            if self._tracking and region.kind is RegionKind.RAM:
                log = (ctypes.c_ubyte * (-(-region.size // PAGE // 64) * 8))()
                entry = abi.DIRTY_LOG.pack(slot, ctypes.addressof(log))
                ioctl(self._vm, abi.GET_DIRTY_LOG, entry)
                dirty |= int.from_bytes(log, "little") << region.offset // PAGE
        return bytearray(dirty.to_bytes(-(-pages // 8), "little"))

    def memory_changed(self) -> None:
        """Nothing to drop: KVM sees the core's writes."""

    def close(self) -> None:
        """Give everything back. No vCPU runs any more."""
        self._stack.close()
