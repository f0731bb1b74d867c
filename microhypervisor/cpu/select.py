"""Which CPU a guest gets: `auto` takes KVM where it works, and the emulated one elsewhere."""

from typing import Literal

from microhypervisor.cpu.emulated import EmulatedComplex
from microhypervisor.cpu.kvm import KvmComplex, kvm_problem
from microhypervisor.cpu.protocol import Complex
from microhypervisor.errors import EnvironmentFault
from microhypervisor.memory.ram import GuestMemory

Kind = Literal["auto", "kvm", "emulated"]


def choose(kind: Kind) -> Literal["kvm", "emulated"]:
    """What `kind` means on this host. Raises EnvironmentFault if it is KVM and cannot be."""
    problem = "" if kind == "emulated" else kvm_problem()
    if kind == "kvm" and problem:
        raise EnvironmentFault(problem)
    return "emulated" if kind == "emulated" or problem else "kvm"


def open_complex(kind: Kind, memory: GuestMemory, vcpus: int) -> Complex:
    """Processors for one guest. Raises EnvironmentFault; PeerFault for a number it cannot have."""
    if choose(kind) == "kvm":
        return KvmComplex(memory, vcpus)
    return EmulatedComplex(memory, vcpus)
