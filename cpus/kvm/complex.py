"""The KVM back end: the processor itself runs the guest, the kernel holds the APICs.

A halted vCPU sleeps inside KVM_RUN, doorbells are taken by ioeventfds and interrupts go in by
irqfds, so the core sees only the accesses that nobody else answers.

Kicks are never lost: `immediate_exit` makes the next KVM_RUN finish the access under way and
return, and a signal takes the thread out of one that has begun. The signal does nothing else;
`install_kick_signal` sets it up, once, in the core's main thread. After an access the bus has
answered, it is the next KVM_RUN that completes it in the guest, which is why `run` never leaves
between the two.
"""

import ctypes
import mmap
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from fcntl import ioctl

from cpus.kvm import abi
from cpus.report import render
from microhypervisor.cpu.protocol import Bus, Registers, Stop, Vcpu
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.memory.ram import GuestMemory, RegionKind

DEVICE = "/dev/kvm"
KICK_SIGNAL = signal.SIGUSR1
IOAPIC_PINS = 24
CPUID_ENTRIES = 256  # twice what the longest table seen needs
# Four pages that Intel processors without "unrestricted guest" need for real mode, where QEMU
# has them too: below the ROM of 16 MiB under 4 GiB, above the local APICs.
IDENTITY_MAP = 0xFEFFC000
TSS = 0xFEFFD000
INSTRUCTION = 15  # bytes of the longest one
EFER_LME, EFER_LMA, CR0_PG = 1 << 8, 1 << 10, 1 << 31
CODE_SELECTOR, DATA_SELECTOR, TASK_SELECTOR = 0x08, 0x10, 0x18


def install_kick_signal() -> None:
    """Let SIGUSR1 end a system call and nothing more. In the main thread, before any vCPU runs."""
    signal.signal(KICK_SIGNAL, lambda _number, _frame: None)
    signal.siginterrupt(KICK_SIGNAL, True)


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


class KvmVcpu:
    """One vCPU of KVM; the ones after vCPU 0 wait in the kernel for INIT and SIPI."""

    def __init__(self, index: int, fd: int, run: mmap.mmap, memory: GuestMemory) -> None:
        self.index = index
        self.exits = 0
        self.wake: Callable[[], None] = lambda: None
        self._fd = fd
        self._run = run
        self._memory = memory
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._reason = "no failure"
        self._code = b""

    def reset(self, registers: Registers) -> None:
        """Put vCPU 0 at its first instruction."""
        sregs = bytearray(abi.SREGS_SIZE)
        ioctl(self._fd, abi.GET_SREGS, sregs)
        wide = int(registers.code64)
        code = (0, 0xFFFFFFFF, CODE_SELECTOR, 11, 1, 0, 1 - wide, 1, wide, 1, 0, 0, 0)
        data = (0, 0xFFFFFFFF, DATA_SELECTOR, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
        task = (0, 0x67, TASK_SELECTOR, 11, 1, 0, 0, 0, 0, 0, 0, 0, 0)
        for place, segment in enumerate([code, *[data] * 5, task]):
            abi.SEGMENT.pack_into(sregs, place * abi.SEGMENT.size, *segment)
        old = abi.CONTROL.unpack_from(sregs, abi.SREGS_CONTROL)
        long_mode = registers.efer & EFER_LME and registers.cr0 & CR0_PG
        efer = registers.efer | (EFER_LMA if long_mode else 0)
        control = (registers.cr0, 0, registers.cr3, registers.cr4, 0, efer, old[6])
        abi.CONTROL.pack_into(sregs, abi.SREGS_CONTROL, *control)
        ioctl(self._fd, abi.SET_SREGS, sregs)
        general = dict.fromkeys(abi.REGS_NAMES.split(), 0)
        for name in ("rip", "rsp", "rflags", "rbx", "rsi"):
            general[name] = getattr(registers, name)
        ioctl(self._fd, abi.SET_REGS, bytearray(abi.REGS.pack(*general.values())))

    def run(self, bus: Bus) -> Stop:
        """Run until something that is not the bus's business happens."""
        with self._lock:
            self._thread = threading.get_ident()
        try:
            return self._loop(bus)
        finally:
            with self._lock:
                self._thread = None

    def _loop(self, bus: Bus) -> Stop:
        run = self._run
        while True:
            try:
                ioctl(self._fd, abi.RUN, 0)
            except (InterruptedError, BlockingIOError):
                # BlockingIOError: a waiting vCPU was woken by INIT or SIPI; enter again.
                if run[abi.RUN_IMMEDIATE_EXIT]:
                    run[abi.RUN_IMMEDIATE_EXIT] = 0
                    return Stop.KICKED
                continue
            except OSError as error:
                self._reason, self._code = f"KVM_RUN failed: {error.strerror}", b""
                return Stop.FAILED
            self.exits += 1
            (reason,) = abi.EXIT_REASON.unpack_from(run, abi.RUN_EXIT_REASON)
            if reason == abi.EXIT_IO:
                self._port(bus)
            elif reason == abi.EXIT_MMIO:
                self._mmio(bus)
            elif reason == abi.EXIT_SHUTDOWN:
                self._reason, self._code = Stop.TRIPLE_FAULT.value, b""
                return Stop.TRIPLE_FAULT
            else:
                self._fail(reason)
                return Stop.FAILED

    def _port(self, bus: Bus) -> None:
        run = self._run
        write, size, port, count, data = abi.IO.unpack_from(run, abi.RUN_UNION)
        for at in range(data, data + count * size, size):
            if write:
                bus.port_out(port, size, int.from_bytes(run[at : at + size], "little"))
            else:
                value = bus.port_in(port, size) & ((1 << 8 * size) - 1)
                run[at : at + size] = value.to_bytes(size, "little")

    def _mmio(self, bus: Bus) -> None:
        """An access that crosses a page comes in odd parts; the bus gets those byte by byte."""
        run = self._run
        address, length, write = abi.MMIO.unpack_from(run, abi.RUN_UNION)
        size = length if length in (1, 2, 4, 8) else 1
        for part in range(0, length, size):
            at = abi.RUN_MMIO_DATA + part
            if write:
                value = int.from_bytes(run[at : at + size], "little")
                bus.mmio_write(address + part, size, value)
            else:
                value = bus.mmio_read(address + part, size) & ((1 << 8 * size) - 1)
                run[at : at + size] = value.to_bytes(size, "little")

    def _fail(self, reason: int) -> None:
        """Exit, detail (what KVM says first about it), and the instruction if KVM names it."""
        detail, count = abi.DETAIL.unpack_from(self._run, abi.RUN_UNION)
        name = abi.EXIT_NAMES.get(reason, "unknown exit")
        self._reason, self._code = f"{name} (exit {reason}, detail {detail:#x})", b""
        if (reason, detail) == (abi.EXIT_INTERNAL_ERROR, abi.SUBERROR_EMULATION) and count:
            at = abi.RUN_UNION + abi.DETAIL.size
            flags, length, code = abi.EMULATION.unpack_from(self._run, at)
            self._code = code[:length] if flags & 1 else b""

    def kick(self) -> None:
        """Make run() return KICKED soon; before run() is entered, make it return at once."""
        with self._lock:
            self._run[abi.RUN_IMMEDIATE_EXIT] = 1
            if self._thread not in (None, threading.get_ident()):
                signal.pthread_kill(self._thread, KICK_SIGNAL)

    def runnable(self) -> bool:
        """Whether run() would execute guest code now; while it runs, yes: KVM cannot be asked."""
        with self._lock:
            if self._thread is not None:
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
        regs, sregs = bytearray(abi.REGS.size), bytearray(abi.SREGS_SIZE)
        ioctl(self._fd, abi.GET_REGS, regs)
        ioctl(self._fd, abi.GET_SREGS, sregs)
        values = dict(zip(abi.REGS_NAMES.split(), abi.REGS.unpack(regs), strict=True))
        control = abi.CONTROL.unpack_from(sregs, abi.SREGS_CONTROL)
        values |= zip(abi.CONTROL_NAMES.split(), control, strict=True)
        texts = {}
        for place, name in enumerate(abi.SEGMENT_NAMES.split()):
            base, limit, selector, kind, _, dpl, *_ = abi.SEGMENT.unpack_from(
                sregs, place * abi.SEGMENT.size
            )
            texts[name] = f"{selector:04x} base {base:x} limit {limit:x} type {kind} dpl {dpl}"
        for place, name in enumerate(("gdt", "idt")):
            base, limit = abi.TABLE.unpack_from(sregs, abi.SREGS_TABLES + place * abi.TABLE.size)
            texts[name] = f"base {base:x} limit {limit:x}"
        (code_base, *_) = abi.SEGMENT.unpack_from(sregs)
        code = self._code or self._instruction(code_base + values["rip"])
        return render(self.index, self._reason, values, texts, code)

    def _instruction(self, linear: int) -> bytes:
        translation = bytearray(abi.TRANSLATION.pack(linear & (1 << 64) - 1, 0, 0))
        ioctl(self._fd, abi.TRANSLATE, translation)
        _, physical, valid = abi.TRANSLATION.unpack(translation)
        length = min(INSTRUCTION, 4096 - physical % 4096)
        place = self._memory.place(physical, length) if valid else None
        return b"" if place is None else bytes(self._memory.view[place : place + length])


class KvmComplex:
    """One virtual machine of KVM."""

    name = "kvm"
    sleeps_inside = True
    problem = staticmethod(kvm_problem)
    prepare = staticmethod(install_kick_signal)

    def __init__(self, memory: GuestMemory, vcpus: int) -> None:
        if problem := kvm_problem():
            raise EnvironmentFault(problem)
        self._lines: dict[int, _Line] = {}
        with ExitStack() as stack:
            kvm = self._own(stack, os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
            most = ioctl(kvm, abi.CHECK_EXTENSION, abi.CAP_MAX_VCPUS)
            if not 1 <= vcpus <= most:
                raise PeerFault(f"{vcpus} vCPUs: KVM gives a guest 1 to {most}")
            try:
                self._vm = self._own(stack, ioctl(kvm, abi.CREATE_VM, 0))
                self._prepare(memory)
                size = ioctl(kvm, abi.GET_VCPU_MMAP_SIZE, 0)
                self.vcpus: list[Vcpu] = []
                for index in range(vcpus):
                    fd = self._own(stack, ioctl(self._vm, abi.CREATE_VCPU, index))
                    ioctl(fd, abi.SET_CPUID2, self._cpuid(kvm, index))
                    run = mmap.mmap(fd, size)
                    stack.callback(run.close)
                    self.vcpus.append(KvmVcpu(index, fd, run, memory))
            except OSError as error:
                raise EnvironmentFault(
                    f"KVM cannot make this guest: {error.strerror}; use --cpu emulated"
                ) from None
            self._stack = stack.pop_all()

    @staticmethod
    def _own(stack: ExitStack, fd: int) -> int:
        stack.callback(os.close, fd)
        return fd

    def _prepare(self, memory: GuestMemory) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ioctl(self._vm, ctypes.c_ulong(abi.SET_TSS_ADDR), ctypes.c_ulong(TSS)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        ioctl(self._vm, abi.SET_IDENTITY_MAP_ADDR, IDENTITY_MAP.to_bytes(8, "little"))
        ioctl(self._vm, abi.CREATE_IRQCHIP, 0)
        # Pins of the IO-APIC only: the default also feeds the legacy PIC, which nobody masks.
        routing = bytearray(abi.ROUTING_HEADER.pack(IOAPIC_PINS, 0))
        for pin in range(IOAPIC_PINS):
            routing += abi.ROUTING_ENTRY.pack(
                pin, abi.ROUTING_IRQCHIP, 0, 0, abi.IRQCHIP_IOAPIC, pin
            )
        ioctl(self._vm, abi.SET_GSI_ROUTING, routing)
        for slot, region in enumerate(memory.regions):
            flags = abi.MEM_READONLY if region.kind is RegionKind.ROM else 0
            host = memory.host_address + region.offset
            entry = abi.MEMORY_REGION.pack(slot, flags, region.base, region.size, host)
            ioctl(self._vm, abi.SET_USER_MEMORY_REGION, entry)

    @staticmethod
    def _cpuid(kvm: int, index: int) -> bytearray:
        """What KVM supports, with the number of the local APIC put in."""
        table = bytearray(abi.CPUID_HEADER.size + CPUID_ENTRIES * abi.CPUID_ENTRY.size)
        abi.CPUID_HEADER.pack_into(table, 0, CPUID_ENTRIES, 0)
        ioctl(kvm, abi.GET_SUPPORTED_CPUID, table)
        deadline = ioctl(kvm, abi.CHECK_EXTENSION, abi.CAP_TSC_DEADLINE_TIMER) > 0
        for place in range(abi.CPUID_HEADER.unpack_from(table)[0]):
            at = abi.CPUID_HEADER.size + place * abi.CPUID_ENTRY.size
            leaf, *rest, ebx, ecx, edx = abi.CPUID_ENTRY.unpack_from(table, at)
            if leaf == 1:
                ebx, ecx = ebx & 0xFFFFFF | index << 24, ecx | deadline << 24
            elif leaf in (0xB, 0x1F):
                edx = index
            abi.CPUID_ENTRY.pack_into(table, at, leaf, *rest, ebx, ecx, edx)
        return table

    def doorbell(self, address: int, value: int, eventfd: int) -> bool:
        """Signal eventfd when the guest writes `value` (4 bytes) at `address`, without an exit."""
        event = abi.IOEVENT.pack(value, address, 4, eventfd, abi.IOEVENTFD_DATAMATCH)
        ioctl(self._vm, abi.IOEVENTFD, event)
        return True

    def interrupt_line(self, irq: int) -> Callable[[], None]:
        """A function that pulses IO-APIC pin `irq` (edge). Callable from any thread, also later."""
        if not 0 <= irq < IOAPIC_PINS:
            raise PeerFault(f"irq {irq}: the IO-APIC has pins 0 to {IOAPIC_PINS - 1}")
        if irq not in self._lines:
            line = self._lines[irq] = _Line()
            self._stack.callback(line.close)
            ioctl(self._vm, abi.IRQFD, abi.IRQ_EVENT.pack(line.fd, irq, 0, 0))
        return self._lines[irq].pulse

    def memory_changed(self) -> None:
        """Nothing to drop: KVM sees the core's writes."""

    def close(self) -> None:
        """Give everything back. No vCPU runs any more."""
        self._stack.close()
