"""What only KVM has to prove: it says why it cannot, and leaves nothing behind."""

import errno
import itertools
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from cpus.kvm import complex as kvm
from cpus.kvm.complex import KvmComplex, kvm_problem
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out


@pytest.fixture
def works():
    if problem := kvm_problem():
        pytest.skip(problem)


@pytest.fixture
def memory():
    memory = GuestMemory("test", lay_out([(RegionKind.RAM, 0, 1 << 20)]))
    yield memory
    memory.close()


def test_a_missing_device_is_named_with_the_cure(monkeypatch, tmp_path, memory):
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert f"{tmp_path}/kvm does not exist: load" in kvm_problem()
    with pytest.raises(EnvironmentFault, match="--cpu emulated"):
        KvmComplex(memory, 1)


def test_a_file_that_is_not_kvm_is_refused(monkeypatch, tmp_path):
    (tmp_path / "kvm").write_bytes(b"")
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert "gives no virtual machine" in kvm_problem()


@pytest.mark.usefixtures("no_privileges")
def test_a_refused_device_is_named_with_the_cure(monkeypatch, tmp_path):
    (tmp_path / "kvm").touch(mode=0)
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert "join the group kvm" in kvm_problem()


@pytest.mark.kvm
@pytest.mark.usefixtures("works")
def test_an_impossible_number_of_vcpus(memory):
    with pytest.raises(PeerFault, match="0 vCPUs"):
        KvmComplex(memory, 0)


@pytest.mark.kvm
@pytest.mark.usefixtures("works")
def test_a_doorbell_rings_without_an_exit(boot_kvm):
    bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    machine = boot_kvm(""".code32
        movl $3, 0xd0000050; movl $3, 0xd0000050; movl $4, 0xd0000050
        out %al, $0xf4""")
    assert machine.complex.doorbell(0xD0000050, 3, bell)
    assert machine.finish().lines == [("write", 0xD0000050, 4, 4), ("out", 0xF4, 1, 0)]
    assert os.eventfd_read(bell) == 2
    os.close(bell)


@pytest.mark.kvm
@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("kernel_irqchip", [False, True])
@pytest.mark.parametrize("scarce", ["open", "ioctl", "eventfd"])
def test_whatever_the_kernel_refuses_is_told_and_leaves_nothing(
    memory, monkeypatch, kernel_irqchip, scarce
):
    def make():
        with closing(KvmComplex(memory, 2, kernel_irqchip)) as machine:
            machine.doorbell(0xD0000050, 0, bell)
            machine.interrupt_line(5)()

    def ration(*arguments):
        if not left:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        left.pop()
        return real(*arguments)

    bell = os.eventfd(0, os.EFD_CLOEXEC)
    monkeypatch.setattr(kvm, "kvm_problem", lambda: "")
    make()
    before = _held()
    module = kvm if scarce == "ioctl" else os
    real = getattr(module, scarce)
    for granted in itertools.count():
        left = [None] * granted
        with monkeypatch.context() as patch:
            patch.setattr(module, scarce, ration)
            try:
                make()
                break
            except EnvironmentFault as fault:
                told = str(fault)
        assert re.fullmatch("KVM cannot .*: Too many open files; use --cpu emulated", told)
        assert _held() == before
    assert granted or (scarce == "eventfd" and not kernel_irqchip)
    os.close(bell)


@pytest.mark.kvm
@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("kernel_irqchip", [False, True])
def test_nothing_is_left_after_close(memory, kernel_irqchip):
    KvmComplex(memory, 2, kernel_irqchip).close()
    before = _held()
    for _ in range(50):
        machine = KvmComplex(memory, 2, kernel_irqchip)
        assert machine.sleeps_inside is kernel_irqchip
        machine.interrupt_line(5)()
        machine.close()
    assert _held() == before


def _held() -> tuple[int, int]:
    """Open files, and mappings of them."""
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("kvm")
