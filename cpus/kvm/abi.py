"""The part of Linux' KVM interface that the core uses, by its names (linux/kvm.h, x86-64).

`fcntl.ioctl` with an integer or a bytearray is as fast as ctypes and drops the GIL, so numbers
and layouts are all that is needed. The one exception is SET_TSS_ADDR, whose argument is above
2^31, which Python 3.11's ioctl refuses.
"""

from struct import Struct
from typing import Final

GET_API_VERSION: Final = 0xAE00
CREATE_VM: Final = 0xAE01
CHECK_EXTENSION: Final = 0xAE03
GET_VCPU_MMAP_SIZE: Final = 0xAE04
GET_SUPPORTED_CPUID: Final = 0xC008AE05
CREATE_VCPU: Final = 0xAE41
GET_DIRTY_LOG: Final = 0x4010AE42
SET_USER_MEMORY_REGION: Final = 0x4020AE46
SET_TSS_ADDR: Final = 0xAE47
SET_IDENTITY_MAP_ADDR: Final = 0x4008AE48
CREATE_IRQCHIP: Final = 0xAE60
SET_GSI_ROUTING: Final = 0x4008AE6A
IRQFD: Final = 0x4020AE76
IOEVENTFD: Final = 0x4040AE79
RUN: Final = 0xAE80
GET_REGS: Final = 0x8090AE81
SET_REGS: Final = 0x4090AE82
GET_SREGS: Final = 0x8138AE83
SET_SREGS: Final = 0x4138AE84
TRANSLATE: Final = 0xC018AE85
INTERRUPT: Final = 0x4004AE86
GET_LAPIC: Final = 0x8400AE8E
SET_CPUID2: Final = 0x4008AE90
GET_MP_STATE: Final = 0x8004AE98
SET_VCPU_EVENTS: Final = 0x4040AEA0

API_VERSION: Final = 12

# What the core cannot do without, by the number that CHECK_EXTENSION takes.
CAPABILITIES: Final = {
    0: "an in-kernel interrupt controller",
    3: "user memory regions",
    7: "CPUID tables",
    14: "processor states",
    25: "interrupt routing",
    32: "irqfd",
    36: "ioeventfd",
    81: "read-only memory",
    136: "immediate exit",
}
CAP_MAX_VCPUS: Final = 66
CAP_TSC_DEADLINE_TIMER: Final = 72

MP_STATE_RUNNABLE: Final = 0
MP_STATE_HALTED: Final = 3
MP_STATE_SIPI_RECEIVED: Final = 4

EXIT_IO: Final = 2
EXIT_HLT: Final = 5
EXIT_MMIO: Final = 6
EXIT_IRQ_WINDOW_OPEN: Final = 7
EXIT_SHUTDOWN: Final = 8
EXIT_SET_TPR: Final = 11
EXIT_INTERNAL_ERROR: Final = 17
EXIT_NAMES: Final = {
    9: "the processor refused to enter the guest",
    17: "KVM cannot emulate an instruction",
    24: "system event",
}
SUBERROR_EMULATION: Final = 1

MEM_LOG_DIRTY_PAGES: Final = 1
MEM_READONLY: Final = 2
IOEVENTFD_DATAMATCH: Final = 1
ROUTING_IRQCHIP: Final = 1
IRQCHIP_IOAPIC: Final = 2
LAPIC_SIZE: Final = 0x400
LAPIC_IRR: Final = 0x200

# struct kvm_run: where its fields are, and the unions of the exits that are handled.
RUN_REQUEST_WINDOW: Final = 0
RUN_IMMEDIATE_EXIT: Final = 1
RUN_EXIT_REASON: Final = 8
RUN_READY: Final = 12  # for an interrupt
RUN_IF: Final = 13
RUN_CR8: Final = 16
RUN_APIC_BASE: Final = 24
RUN_UNION: Final = 32
RUN_MMIO_DATA: Final = 40
EXIT_REASON = Struct("<I")
IO = Struct("<BBHIQ")  # direction, size, port, count, data offset in the mapping
MMIO = Struct("<QQIB")  # address, data, length, is write
DATA = Struct("<Q")
APIC_BASE = Struct("<Q")
VECTOR = Struct("<I")
DETAIL = Struct("<II")  # of a failure: its number, how much follows
EMULATION = Struct("<QB15s")  # flags, instruction length, instruction

MEMORY_REGION = Struct("<IIQQQ")  # slot, flags, guest address, size, host address
IOEVENT = Struct("<QQIiI36x")  # value, address, length, eventfd, flags
IRQ_EVENT = Struct("<IIII16x")  # eventfd, gsi, flags, resample eventfd
ROUTING_HEADER = Struct("<II")  # entries, flags
ROUTING_ENTRY = Struct("<IIIIII24x")  # gsi, type, flags, pad, irqchip, pin
CPUID_HEADER = Struct("<II")  # entries, pad
CPUID_ENTRY = Struct("<IIIIIII12x")  # function, index, flags, eax, ebx, ecx, edx
REGS = Struct("<18Q")  # in the order of REGS_NAMES
REGS_NAMES: Final = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"
SEGMENT = Struct("<QIH10B")  # base, limit, selector, type, p, dpl, db, s, l, g, avl, unusable
SEGMENT_NAMES: Final = "cs ds es fs gs ss tr ldt"
SREGS_TABLES: Final = 8 * SEGMENT.size
TABLE = Struct("<QH6x")  # base, limit: GDT, then IDT
SREGS_CONTROL: Final = SREGS_TABLES + 2 * TABLE.size
CONTROL = Struct("<7Q")  # in the order of CONTROL_NAMES
CONTROL_NAMES: Final = "cr0 cr2 cr3 cr4 cr8 efer apic_base"
SREGS_INTERRUPTS: Final = SREGS_CONTROL + CONTROL.size
SREGS_SIZE: Final = 0x138
VCPU_EVENTS_SIZE: Final = 64
DIRTY_LOG = Struct("<I4xQ")  # slot, address of the bitmap
TRANSLATION = Struct("<QQB7x")  # linear, physical, valid
