"""Which CPU back end a guest gets."""

import pytest

from control.select import back_end, choose, problem_of
from cpus.emulated.complex import EmulatedComplex
from cpus.kvm import complex as kvm
from cpus.kvm.complex import KvmComplex, kvm_problem
from microhypervisor.errors import EnvironmentFault


def test_auto_takes_kvm_where_it_works():
    assert choose("auto") is (EmulatedComplex if kvm_problem() else KvmComplex)


def test_without_kvm(monkeypatch, tmp_path):
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert choose("auto") is choose("emulated") is EmulatedComplex
    with pytest.raises(EnvironmentFault, match="does not exist"):
        choose("kvm")


def test_a_back_end_that_is_not_installed():
    assert "no 'vax' is installed among splitvisor.cpus (emulated, kvm)" in problem_of("vax")
    with pytest.raises(EnvironmentFault, match="vax"):
        back_end("vax")
