"""Which CPU a guest gets."""

import pytest

from microhypervisor.cpu import kvm
from microhypervisor.cpu.kvm import kvm_problem
from microhypervisor.cpu.select import choose, open_complex
from microhypervisor.errors import EnvironmentFault
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out


def test_auto_takes_kvm_where_it_works():
    assert choose("auto") == ("emulated" if kvm_problem() else "kvm")


def test_without_kvm(monkeypatch, tmp_path):
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert choose("auto") == choose("emulated") == "emulated"
    with pytest.raises(EnvironmentFault, match="does not exist"):
        choose("kvm")


def test_the_complex_has_the_vcpus_that_were_asked_for(kind):
    memory = GuestMemory("test", lay_out([(RegionKind.RAM, 0, 4096)]))
    machine = open_complex(kind, memory, 3)
    assert [vcpu.index for vcpu in machine.vcpus] == [0, 1, 2]
    assert [vcpu.runnable() for vcpu in machine.vcpus] == [True, False, False]
    machine.close()
    memory.close()
