"""From messages to what the core takes."""

from control.select import choose
from microhypervisor.cpu.protocol import BackEnd, Registers
from microhypervisor.errors import PeerFault
from microhypervisor.limits import MAX_DEVICES, MAX_NAME, MAX_VCPUS, MIN_SLICE_NS
from microhypervisor.memory.ram import Region, RegionKind, lay_out
from microhypervisor.sched.policy import Parameters
from protos import core_pb2

MAX_DEVICE_NAME = 100  # it becomes part of other names, as the guest's does
MAX_SLICE_NS = 10_000_000_000  # far beyond it, threads cannot be told how long to wait

_KINDS = {
    core_pb2.CPU_AUTO: "auto",
    core_pb2.CPU_KVM: "kvm",
    core_pb2.CPU_EMULATED: "emulated",
}
_REGIONS = {core_pb2.REGION_RAM: RegionKind.RAM, core_pb2.REGION_ROM: RegionKind.ROM}


def regions_of(config: core_pb2.GuestConfig) -> list[Region]:
    """The guest's memory map, checked."""
    if any(region.kind not in _REGIONS for region in config.regions):
        raise PeerFault(f"guest {config.name}: a memory region of unknown kind")
    return lay_out((_REGIONS[r.kind], r.base, r.size) for r in config.regions)


def registers_of(r: core_pb2.Registers) -> Registers:
    """vCPU 0's initial registers."""
    names = ("rip", "rsp", "rbx", "rsi", "cr0", "cr3", "cr4", "efer")
    values = {name: getattr(r, name) for name in names}
    return Registers(**values, rflags=r.rflags or 2, code64=r.code == core_pb2.CODE_64)


def parameters_of(s: core_pb2.Schedule) -> Parameters:
    """How a vCPU is to be scheduled; whether that can be is the policy's to say."""
    affinity = frozenset(s.affinity)
    return Parameters(s.weight or Parameters().weight, s.cap, s.budget_ns, s.period_ns, affinity)


def slice_of(slice_ns: int) -> int:
    """A vCPU's turn while others wait, checked."""
    if not MIN_SLICE_NS <= slice_ns <= MAX_SLICE_NS:
        raise PeerFault(f"a slice of {slice_ns} ns: give {MIN_SLICE_NS} to {MAX_SLICE_NS}")
    return slice_ns


def cpu_of(config: core_pb2.GuestConfig) -> BackEnd:
    """What is to run the guest; EnvironmentFault if this host cannot."""
    if config.cpu not in _KINDS:
        raise PeerFault(f"guest {config.name}: no CPU has number {config.cpu}")
    return choose(_KINDS[config.cpu])


def check(config: core_pb2.GuestConfig) -> None:
    """PeerFault for what no guest can have."""
    name = config.name
    _check_name("guest", name, MAX_NAME)
    for device in config.devices:
        _check_name(f"guest {name}: device", device.name, MAX_DEVICE_NAME)
    if len({device.name for device in config.devices}) != len(config.devices):
        raise PeerFault(f"guest {name}: two devices have the same name")
    if any(power.action not in core_pb2.PowerAction.values() for power in config.power_ports):
        raise PeerFault(f"guest {name}: a power port with an unknown action")
    if not 0 < config.vcpus <= MAX_VCPUS:
        raise PeerFault(f"guest {name}: {config.vcpus} vCPUs; give it 1 to {MAX_VCPUS}")
    if len(config.devices) > MAX_DEVICES:
        raise PeerFault(f"guest {name}: more than {MAX_DEVICES} devices")


def _check_name(whose: str, name: str, most: int) -> None:
    plain = name.isascii() and name.isprintable() and "/" not in name  # as in guest/device
    if not 0 < len(name) <= most or not plain:
        raise PeerFault(f"{whose} name {name!r} is not 1 to {most} printable characters without /")
