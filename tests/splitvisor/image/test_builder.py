import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.parameters import VcpuParameters
from protos import core_pb2 as core
from splitvisor.errors import UserError
from splitvisor.image import layout
from splitvisor.image.builder import CHUNK, build, place_devices
from splitvisor.machine import CpuChoice, Device, Guest, Irqchip, Model, standard_devices

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def make(elves, tmp_path):
    def make(elf=None, **settings):
        path = tmp_path / "guest.elf"
        path.write_bytes(elves.guest() if elf is None else elf)
        return build(Guest("web", path, **settings))

    return make


def contents(built, address, size):
    """What the guest finds at an address after loading."""
    memory = bytearray(size)
    for chunk in built.chunks():
        low = max(address, chunk.address)
        high = min(address + size, chunk.address + len(chunk.data))
        if low < high:
            memory[low - address : high - address] = chunk.data[
                low - chunk.address : high - chunk.address
            ]
    return bytes(memory)


def test_a_guest_as_the_core_gets_it(make):
    devices = standard_devices("terminal", "terminal", ["memory:size=1M"])
    built = make(arguments="depth=8", devices=devices, vcpus=2, cpu=CpuChoice.EMULATED)
    ports = core.PortRange(base=0x3F8, count=8, irq=4)

    def device(name, model, spec, **placement):
        return core.DeviceConfig(name=name, service="service", model=model, spec=spec, **placement)

    def virtio(base, irq):
        return core.VirtioMmio(base=base, irq=irq)

    assert built.config == core.GuestConfig(
        name="web",
        cpu=core.CPU_EMULATED,
        vcpus=2,
        regions=[core.Region(kind=core.REGION_RAM, base=0, size=64 * MIB)],
        registers=core.Registers(rip=0x100000, rbx=0x90000, rflags=2, cr0=1, code=core.CODE_32),
        devices=[
            device("hvc0", "console", "terminal", virtio=virtio(0xD0000000, 5)),
            device("com1", "uart", "terminal", ports=ports),
            device("rng0", "entropy", "system", virtio=virtio(0xD0001000, 6)),
            device("disk0", "block", "memory:size=1M", virtio=virtio(0xD0002000, 7)),
        ],
        power_ports=[
            core.PowerPort(port=0xF4, action=core.POWER_EXIT),
            core.PowerPort(port=0x64, mask=0xFF, match=0xFE, action=core.POWER_RESET),
            core.PowerPort(port=0x604, mask=0x3C, match=0x34, action=core.POWER_OFF),
        ],
        schedule=core.Schedule(weight=256),
    )
    assert contents(built, layout.COMMAND_LINE, 44) == (
        b"depth=8 virtio_mmio.device=4K@0xd0000000:5 v"
    )
    assert contents(built, 0x100000, 17) == b"\xf4" * 16 + b"\0"
    assert contents(built, layout.ACPI_BASE, 8) == b"RSD PTR "
    assert built.notes[0].endswith("guest.elf: 1 segments, entry 0x100000")


def test_how_it_is_scheduled_and_who_interrupts_it(make):
    said = VcpuParameters(512, 50, 2_000_000, 10_000_000, frozenset({3, 1}))
    config = make(schedule=said, irqchip=Irqchip.KERNEL).config
    assert config.kernel_irqchip
    assert config.schedule == core.Schedule(
        weight=512, cap=50, budget_ns=2_000_000, period_ns=10_000_000, affinity=[1, 3]
    )
    assert not make().config.kernel_irqchip


def test_large_segments_come_in_chunks_and_may_be_asked_for_again(make, elves):
    code = bytes(range(256)) * (5 * MIB // 256) + b"end"
    built = make(elves.guest(0x200000, code, memory_size=9 * MIB))
    assert max(len(chunk.data) for chunk in built.chunks()) == CHUNK
    assert {chunk.guest for chunk in built.chunks()} == {"web"}
    assert contents(built, 0x200000, len(code)) == code
    assert list(built.chunks()) == list(built.chunks())


def test_much_memory_is_split_around_the_hole(make):
    regions = make(memory=5 * GIB).config.regions
    assert [(r.base, r.size) for r in regions] == [(0, 3 * GIB), (4 * GIB, 2 * GIB)]


def test_a_rom_is_padded_to_pages(make, tmp_path):
    (tmp_path / "rom").write_bytes(b"rom" * 2000)
    built = make(rom=tmp_path / "rom")
    assert built.config.regions[-1] == core.Region(kind=core.REGION_ROM, base=0xC0000000, size=8192)
    assert contents(built, 0xC0000000, 8192) == (b"rom" * 2000).ljust(8192, b"\0")


def test_an_empty_rom_is_a_mistake(make, tmp_path):
    (tmp_path / "rom").touch()
    with pytest.raises(UserError, match=r"rom .* is empty"):
        make(rom=tmp_path / "rom")


def test_memory_below_the_image(make, elves):
    with pytest.raises(UserError, match="outside the guest's 4M of memory: give it at least 9M"):
        make(elves.guest(0x200000, memory_size=7 * MIB), memory=4 * MIB)


def disks(count):
    return tuple(Device(f"disk{i}", Model.BLOCK, "memory:size=1M") for i in range(count))


def test_all_virtio_places_are_used_before_it_is_an_error(make):
    built = make(devices=disks(18))
    assert [d.virtio.irq for d in built.config.devices] == [5, 6, 7, *range(9, 24)]
    with pytest.raises(UserError, match=r"web: no place for device disk18: .*18 virtio devices"):
        make(devices=disks(19))


def test_a_balloon_is_the_last_device_and_the_core_serves_it(make):
    *others, balloon = make(devices=disks(2), balloon=True).config.devices
    assert [d.name for d in others] == ["disk0", "disk1"]
    place = core.VirtioMmio(base=0xD0002000, irq=7)
    assert balloon == core.DeviceConfig(
        name="balloon0", model="balloon", inline_payload=True, virtio=place
    )
    with pytest.raises(UserError, match=r"web: no place for device balloon0: .*18 virtio devices"):
        make(devices=disks(18), balloon=True)


def test_two_uarts_fit_and_a_third_does_not(make):
    uarts = tuple(Device(f"com{i}", Model.UART, "terminal") for i in (1, 2, 3))
    placed = make(devices=uarts[:2]).config.devices
    assert [(d.ports.base, d.ports.irq) for d in placed] == [(0x3F8, 4), (0x2F8, 3)]
    with pytest.raises(UserError, match=r"no place for device com3: .* at most 2 UARTs"):
        make(devices=uarts)


def test_one_clock_fits_and_it_is_no_serial_port(make):
    clocks = tuple(Device(f"rtc{i}", Model.RTC, "system") for i in range(2))
    uart = Device("com1", Model.UART, "terminal")
    built = make(devices=(clocks[0], uart))
    ports = [(d.ports.base, d.ports.count, d.ports.irq) for d in built.config.devices]
    assert ports == [(0x70, 2, 8), (0x3F8, 8, 4)]
    tables = contents(built, layout.ACPI_BASE, layout.ACPI_SIZE)
    assert (tables.count(b"COM1"), tables.count(b"RTC0")) == (1, 1)
    with pytest.raises(UserError, match="no place for device rtc1: a guest has at most 1 clock"):
        make(devices=clocks)


def test_a_clock_behind_virtio_is_a_virtio_device_and_no_pcs_clock(make):
    built = make(devices=(Device("clock0", Model.CLOCK, "system"), *disks(1)))
    placed = [(d.name, d.model, d.virtio.irq) for d in built.config.devices]
    assert placed == [("clock0", "clock", 5), ("disk0", "block", 6)]
    assert contents(built, layout.ACPI_BASE, layout.ACPI_SIZE).count(b"RTC0") == 0


@given(st.lists(st.sampled_from([Model.BLOCK, Model.ENTROPY, Model.CONSOLE]), max_size=18))
def test_places_are_unique(tmp_path_factory, models):
    devices = tuple(Device(f"d{i}", model, "x") for i, model in enumerate(models))
    placed = place_devices(Guest("web", tmp_path_factory.getbasetemp(), devices=devices))
    assert [d.name for d in placed] == [d.name for d in devices]
    assert (
        len({d.virtio.base for d in placed}) == len({d.virtio.irq for d in placed}) == len(placed)
    )


def test_what_the_linker_makes_is_built(linked_guest):
    built = build(Guest("web", linked_guest))
    assert contents(built, built.config.registers.rip, 4) == b"\xb0\x2a\xe6\xf4"
    assert contents(built, layout.START_INFO, 4) == b"\x78\xc5\x6e\x33"
