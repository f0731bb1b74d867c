"""The registers of a KVM vCPU: set for a start, read for a report."""

from fcntl import ioctl

from cpus.kvm import abi
from cpus.report import render
from microhypervisor.cpu.protocol import Registers
from microhypervisor.memory.ram import GuestMemory

INSTRUCTION = 15  # bytes of the longest one
EFER_LME, EFER_LMA, CR0_PG = 1 << 8, 1 << 10, 1 << 31
CODE_SELECTOR, DATA_SELECTOR, TASK_SELECTOR = 0x08, 0x10, 0x18
CODE, DATA, TASK, LOCAL_TABLE = 11, 3, 11, 2  # descriptor types
CR0_RESET = 0x60000010  # caches off, as Intel's manual, volume 3, table 10-1 has it
APIC_BASE, APIC_ENABLED, FIRST_PROCESSOR = 0xFEE00000, 1 << 11, 1 << 8


def start_flat(fd: int, registers: Registers) -> None:
    """At the given registers, with flat segments. OSError if KVM does not take them."""
    wide = int(registers.code64)
    code = (0, 0xFFFFFFFF, CODE_SELECTOR, CODE, 1, 0, 1 - wide, 1, wide, 1, 0, 0, 0)
    data = (0, 0xFFFFFFFF, DATA_SELECTOR, DATA, 1, 0, 1, 1, 0, 1, 0, 0, 0)
    task = (0, 0x67, TASK_SELECTOR, TASK, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    sregs = bytearray(abi.SREGS_SIZE)
    ioctl(fd, abi.GET_SREGS, sregs)
    for place, segment in enumerate([code, *[data] * 5, task]):
        abi.SEGMENT.pack_into(sregs, place * abi.SEGMENT.size, *segment)
    long_mode = registers.efer & EFER_LME and registers.cr0 & CR0_PG
    efer = registers.efer | (EFER_LMA if long_mode else 0)
    _control(fd, sregs, registers, efer)


def start_real(fd: int, page: int) -> None:
    """In real mode at page << 12, as a start-up interrupt does it; nothing is pending then."""
    code = (page << 12, 0xFFFF, page << 8, CODE, 1, 0, 0, 1, 0, 0, 0, 0, 0)
    data = (0, 0xFFFF, 0, DATA, 1, 0, 0, 1, 0, 0, 0, 0, 0)
    task, table = ((0, 0xFFFF, 0, kind, 1, 0, 0, 0, 0, 0, 0, 0, 0) for kind in (TASK, LOCAL_TABLE))
    sregs = bytearray(abi.SREGS_SIZE)
    ioctl(fd, abi.GET_SREGS, sregs)
    for place, segment in enumerate([code, *[data] * 5, task, table]):
        abi.SEGMENT.pack_into(sregs, place * abi.SEGMENT.size, *segment)
    for place in range(2):
        abi.TABLE.pack_into(sregs, abi.SREGS_TABLES + place * abi.TABLE.size, 0, 0xFFFF)
    sregs[abi.SREGS_INTERRUPTS :] = bytes(abi.SREGS_SIZE - abi.SREGS_INTERRUPTS)
    ioctl(fd, abi.SET_VCPU_EVENTS, bytes(abi.VCPU_EVENTS_SIZE))
    _control(fd, sregs, Registers(rip=0, cr0=CR0_RESET), 0)


def _control(fd: int, sregs: bytearray, registers: Registers, efer: int) -> None:
    """Control and general registers; the APIC's base stays as it was."""
    *_, apic_base = abi.CONTROL.unpack_from(sregs, abi.SREGS_CONTROL)
    control = (registers.cr0, 0, registers.cr3, registers.cr4, 0, efer, apic_base)
    abi.CONTROL.pack_into(sregs, abi.SREGS_CONTROL, *control)
    ioctl(fd, abi.SET_SREGS, sregs)
    general = dict.fromkeys(abi.REGS_NAMES.split(), 0)
    for name in ("rip", "rsp", "rflags", "rbx", "rsi"):
        general[name] = getattr(registers, name)
    ioctl(fd, abi.SET_REGS, bytearray(abi.REGS.pack(*general.values())))


def enable_apic(fd: int, index: int) -> None:
    """What the kernel's APIC does by itself: the base register after power-up."""
    sregs = bytearray(abi.SREGS_SIZE)
    ioctl(fd, abi.GET_SREGS, sregs)
    base = APIC_BASE | APIC_ENABLED | (0 if index else FIRST_PROCESSOR)
    *control, _ = abi.CONTROL.unpack_from(sregs, abi.SREGS_CONTROL)
    abi.CONTROL.pack_into(sregs, abi.SREGS_CONTROL, *control, base)
    ioctl(fd, abi.SET_SREGS, sregs)


def describe(fd: int, memory: GuestMemory, index: int, reason: str, code: bytes) -> str:
    """The report of a vCPU; `code` if the instruction is known."""
    regs, sregs = bytearray(abi.REGS.size), bytearray(abi.SREGS_SIZE)
    ioctl(fd, abi.GET_REGS, regs)
    ioctl(fd, abi.GET_SREGS, sregs)
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
    code = code or _instruction(fd, memory, code_base + values["rip"])
    return render(index, reason, values, texts, code)


def _instruction(fd: int, memory: GuestMemory, linear: int) -> bytes:
    translation = bytearray(abi.TRANSLATION.pack(linear & (1 << 64) - 1, 0, 0))
    ioctl(fd, abi.TRANSLATE, translation)
    _, physical, valid = abi.TRANSLATION.unpack(translation)
    length = min(INSTRUCTION, 4096 - physical % 4096)
    place = memory.place(physical, length) if valid else None
    return b"" if place is None else bytes(memory.view[place : place + length])
