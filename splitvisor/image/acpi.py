"""The ACPI tables (6.5): how a guest finds its processors, devices and power switch.

Distribution kernels look for virtio-mmio here and nowhere else. The hardware-reduced model is
chosen because it needs none of the fixed PC hardware (no PM timer, no SCI, no embedded
controller): power off is one register, and interrupts are IO-APIC pins.

The area holds RSDP, XSDT, MADT, DSDT and FADT in this order, each at a multiple of 64 bytes.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from splitvisor.image import aml, layout

SLEEP_CONTROL = 0x604  # where QEMU's PC machines power off as well
SLEEP_STATUS = 0x605
SLEEP_MASK = 0x3C  # SLP_TYP and SLP_EN in the sleep control register (4.8.3.7)
S5_TYPE = 5
SLEEP_S5 = S5_TYPE << 2 | 1 << 5

RESET_PORT = 0x64  # the keyboard controller's pulse, which every PC has
RESET_VALUE = 0xFE

CLOCK_PORT = 0x70
CLOCK_PORTS = 2

_ALIGN = 64
_RSDP_SIZE = 36
_FADT_SIZE = 276
_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_OEM = b"SPLITV"
_OEM_TABLE = b"SPLITVIS"

# FADT flags (5.2.9, table 5.9).
_WBINVD = 1 << 0
_NO_POWER_BUTTON = 1 << 4
_NO_SLEEP_BUTTON = 1 << 5
_RESET_REGISTER = 1 << 10
_HW_REDUCED = 1 << 20
# IA-PC boot architecture flags (table 5.10).
_LEGACY_DEVICES = 1 << 0
_NO_VGA = 1 << 2
_NO_CMOS = 1 << 5


@dataclass(frozen=True, slots=True)
class Tables:
    """`data` for the ACPI area, with the RSDP at guest-physical `rsdp`."""

    data: bytes
    rsdp: int


def tables(
    base: int,
    vcpus: int,
    virtio: Sequence[tuple[int, int]],
    serial: Sequence[tuple[int, int]],
    clock: bool = False,
) -> Tables:
    """All tables for a guest, to stand at `base`; devices are (base or port, irq)."""
    processors, devices = madt(vcpus), dsdt(virtio, serial, clock)
    xsdt_address = base + _aligned(_RSDP_SIZE)
    madt_address = xsdt_address + _aligned(_HEADER.size + 2 * 8)
    dsdt_address = madt_address + _aligned(len(processors))
    fadt_address = dsdt_address + _aligned(len(devices))
    xsdt = _table(b"XSDT", 1, struct.pack("<QQ", fadt_address, madt_address))
    parts = (_rsdp(xsdt_address), xsdt, processors, devices, fadt(dsdt_address, clock))
    data = b"".join(part.ljust(_aligned(len(part)), b"\0") for part in parts)
    assert len(data) <= layout.ACPI_SIZE
    return Tables(data, base)


def madt(vcpus: int) -> bytes:
    """The processors' local APICs and the IO-APIC (5.2.12)."""
    local = b"".join(struct.pack("<BBBBI", 0, 8, i, i, 1) for i in range(vcpus))
    io_apic = struct.pack("<BBBBII", 1, 12, 0, 0, layout.IO_APIC, 0)
    return _table(b"APIC", 5, struct.pack("<II", layout.LOCAL_APIC, 0) + local + io_apic)


def fadt(dsdt_address: int, clock: bool = False) -> bytes:
    """Hardware-reduced, with the sleep and reset registers (5.2.9), with or without CMOS clock."""
    body = bytearray(_FADT_SIZE)
    flags = _WBINVD | _NO_POWER_BUTTON | _NO_SLEEP_BUTTON | _RESET_REGISTER | _HW_REDUCED
    no_cmos = 0 if clock else _NO_CMOS
    struct.pack_into("<H", body, 109, _LEGACY_DEVICES | _NO_VGA | no_cmos)
    struct.pack_into("<I", body, 112, flags)
    body[116:128] = _port_register(RESET_PORT)
    body[128] = RESET_VALUE
    struct.pack_into("<Q", body, 140, dsdt_address)
    body[244:256] = _port_register(SLEEP_CONTROL)
    body[256:268] = _port_register(SLEEP_STATUS)
    body[268:276] = _OEM_TABLE
    return _table(b"FACP", 6, bytes(body[_HEADER.size :]))


def dsdt(
    virtio: Sequence[tuple[int, int]], serial: Sequence[tuple[int, int]], clock: bool = False
) -> bytes:
    """The devices, and what to write for S5 (5.2.11.1). The clock has no interrupt to tell of."""
    devices = [
        aml.device(
            f"VR{i:02X}",
            aml.name("_HID", aml.string("LNRO0005")),
            aml.name("_UID", aml.integer(i)),
            aml.name("_CCA", aml.integer(1)),
            aml.name(
                "_CRS",
                aml.resources(aml.memory_range(base, layout.VIRTIO_STRIDE), aml.interrupt(irq)),
            ),
        )
        for i, (base, irq) in enumerate(virtio)
    ]
    devices += [
        aml.device(
            f"COM{i}",
            aml.name("_HID", aml.eisa_id("PNP0501")),
            aml.name("_UID", aml.integer(i)),
            aml.name("_CRS", aml.resources(aml.io_range(port, 8), aml.interrupt(irq))),
        )
        for i, (port, irq) in enumerate(serial, start=1)
    ]
    if clock:
        ports = aml.name("_CRS", aml.resources(aml.io_range(CLOCK_PORT, CLOCK_PORTS)))
        devices.append(aml.device("RTC0", aml.name("_HID", aml.eisa_id("PNP0B00")), ports))
    s5 = aml.package(*(aml.integer(value) for value in (S5_TYPE, 0, 0, 0)))
    return _table(b"DSDT", 2, aml.scope("_SB", *devices) + aml.name("_S5", s5))


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A system description table with its header and checksum (5.2.6)."""
    length = _HEADER.size + len(body)
    header = _HEADER.pack(signature, length, revision, 0, _OEM, _OEM_TABLE, 1, b"SPLV", 1)
    return _with_checksum(header + body, 9, length)


def _rsdp(xsdt: int) -> bytes:
    """The root pointer, revision 2, with both checksums (5.2.5.3)."""
    rsdp = struct.pack("<8sB6sBIIQBxxx", b"RSD PTR ", 0, _OEM, 2, 0, _RSDP_SIZE, xsdt, 0)
    return _with_checksum(_with_checksum(rsdp, 8, 20), 32, _RSDP_SIZE)


def _with_checksum(data: bytes, position: int, length: int) -> bytes:
    """`data` whose first `length` bytes sum to 0 modulo 256 by the byte at `position`."""
    checksum = -sum(data[:length]) & 0xFF
    return data[:position] + bytes([checksum]) + data[position + 1 :]


def _port_register(port: int) -> bytes:
    """A generic address: one byte in I/O space (5.2.3.2)."""
    return struct.pack("<BBBBQ", 1, 8, 0, 1, port)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
