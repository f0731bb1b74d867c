"""From messages to what the core takes."""

from microhypervisor.cpu.protocol import Registers
from microhypervisor.errors import PeerFault
from microhypervisor.limits import MIN_SLICE_NS
from microhypervisor.memory.ram import Region, RegionKind, lay_out
from microhypervisor.sched.policy import Parameters
from protos import core_pb2

MAX_SLICE_NS = 10_000_000_000  # far beyond it, threads cannot be told how long to wait

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
