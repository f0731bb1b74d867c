"""Guest memory with RAM, a hole, ROM and RAM again."""

import os

import pytest

from cpus.kvm.complex import kvm_problem
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from tests.microhypervisor.core import Core

LOW_RAM = 4 << 20
ROM = 8 << 20
HIGH_RAM = 1 << 32
BUDGET = 256 << 20


@pytest.fixture
def memory():
    memory = GuestMemory(
        "test",
        lay_out(
            [
                (RegionKind.RAM, 0, LOW_RAM),
                (RegionKind.ROM, ROM, 0x1000),
                (RegionKind.RAM, HIGH_RAM, 1 << 20),
            ]
        ),
    )
    yield memory
    memory.close()


@pytest.fixture
def core(tmp_path):
    """A core process of its own."""
    core = Core(tmp_path)
    yield core
    core.close()


@pytest.fixture(scope="module")
def shared_core(tmp_path_factory):
    """A core process for tests that leave it as they find it."""
    host = sorted(os.sched_getaffinity(0))
    pcpus = f"--pcpus={host[0]},{host[-1]}"
    core = Core(tmp_path_factory.mktemp("core"), f"--memory-budget={BUDGET}", pcpus)
    yield core
    core.close()


@pytest.fixture(params=["kvm", "emulated"])
def cpu(request):
    """Both kinds of CPU; KVM where it works."""
    problem = kvm_problem()
    if request.param == "kvm" and problem:
        pytest.skip(problem)
    return request.param
