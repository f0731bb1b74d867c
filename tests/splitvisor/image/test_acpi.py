import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.image import acpi, layout

BASE = layout.ACPI_BASE
VIRTIO = [(0xD0000000, 5), (0xD0001000, 6)]
SERIAL = [(0x3F8, 4)]


def find(tables, address):
    """The table at a guest-physical address, cut to its length, its checksum checked."""
    data = tables.data[address - BASE :]
    table = data[: struct.unpack_from("<I", data, 4)[0]]
    assert sum(table) & 0xFF == 0
    return table


def walk(tables):
    """Every table by signature, found as a guest finds them: RSDP, XSDT, FADT, DSDT."""
    rsdp = tables.data[tables.rsdp - BASE :][:36]
    assert rsdp.startswith(b"RSD PTR ")
    assert sum(rsdp[:20]) & 0xFF == 0
    assert sum(rsdp) & 0xFF == 0
    xsdt = find(tables, struct.unpack_from("<Q", rsdp, 24)[0])
    found = [xsdt, *(find(tables, a) for (a,) in struct.iter_unpack("<Q", xsdt[36:]))]
    fadt = found[1]
    found.append(find(tables, struct.unpack_from("<Q", fadt, 140)[0]))
    return {table[:4].decode(): table for table in found}


@given(
    st.integers(1, 255),
    st.lists(st.sampled_from(VIRTIO), max_size=len(layout.VIRTIO_IRQS)),
    st.lists(st.sampled_from(SERIAL), max_size=2),
)
def test_all_tables_are_found_sound_and_apart(vcpus, virtio, serial):
    tables = acpi.tables(BASE, vcpus, virtio, serial)
    found = walk(tables)
    assert list(found) == ["XSDT", "FACP", "APIC", "DSDT"]
    assert len(tables.data) <= layout.ACPI_SIZE
    for table in found.values():
        assert tables.data.count(table) == 1


def test_every_vcpu_has_its_local_apic():
    madt = walk(acpi.tables(BASE, 3, [], []))["APIC"]
    assert struct.unpack_from("<I", madt, 36) == (layout.LOCAL_APIC,)
    entries = madt[44:]
    for i in range(3):
        assert struct.unpack_from("<BBBBI", entries, 8 * i) == (0, 8, i, i, 1)
    assert struct.unpack_from("<BBBBII", entries, 24) == (1, 12, 0, 0, layout.IO_APIC, 0)


@pytest.mark.parametrize("clock", [False, True])
def test_a_clock_is_told_of_where_there_is_one(clock):
    found = walk(acpi.tables(BASE, 1, [], SERIAL, clock))
    assert struct.unpack_from("<H", found["FACP"], 109)[0] >> 5 & 1 == (not clock)
    assert (b"RTC0" in found["DSDT"]) == clock


def disassembled(folder, tables):
    for signature, table in walk(tables).items():
        (folder / f"{signature}.aml").write_bytes(table)
        done = subprocess.run(
            ["iasl", "-d", f"{signature}.aml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "error" not in output.lower(), output
        assert "warning" not in output.lower(), output
    return {path.stem: path.read_text() for path in folder.glob("*.dsl")}


@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl is not installed")
def test_the_reference_tool_reads_the_tables(tmp_path):
    text = disassembled(tmp_path, acpi.tables(BASE, 2, VIRTIO, SERIAL))
    assert "Hardware Reduced (V5) : 1" in text["FACP"]
    assert "Reset Register Supported (V2) : 1" in text["FACP"]
    assert text["FACP"].count("[SystemIO]") == 3
    dsdt = text["DSDT"]
    assert dsdt.count('Name (_HID, "LNRO0005")') == 2
    assert dsdt.count('Name (_HID, EisaId ("PNP0501")') == 1
    assert "0xD0001000,         // Address Base" in dsdt
    assert dsdt.count("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive") == 3
    assert "Name (_S5, Package (0x04)" in dsdt


@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl is not installed")
def test_the_reference_compiler_makes_the_same_dsdt(tmp_path):
    virtio = [(0xD0000000 + 0x1000 * i, irq) for i, irq in enumerate(layout.VIRTIO_IRQS)]
    tables = acpi.tables(BASE, 255, virtio, [(0x3F8, 4), (0x2F8, 3)])
    disassembled(tmp_path, tables)
    done = subprocess.run(
        ["iasl", "-p", "again", "DSDT.dsl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "0 Errors" in done.stdout + done.stderr
    again = (tmp_path / "again.aml").read_bytes()
    # The header differs: the compiler puts its own name there.
    assert again[36:] == walk(tables)["DSDT"][36:]
