"""Drivers on drivers under a real guest: a stack is opened, killed and taken over as one disk."""

import random

import pytest

from splitvisor.machine import CpuChoice
from splitvisor.testing.testbed import Testbed

SIZE = 2 << 20
KILLS = 5


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base.img").write_bytes(random.Random(1).randbytes(SIZE))
    (tmp_path / "key").write_bytes(random.Random(2).randbytes(64))
    return tmp_path / "base.img"


def stack(folder):
    overlay = f"overlay:base=(file:path={folder}/base.img,readonly),path={folder}/disk.top"
    return f"throttle:iops=1000,child=(encrypt:key={folder}/key,child=({overlay}))"


def test_a_stack_that_is_killed_again_and_again_is_one_disk_and_its_base_stays(bed, base):
    before = base.read_bytes()
    machine = bed.start("blockcheck", [stack(base.parent)], "depth=32 passes=3")
    machine.wait_for_requests(64)
    kills = 0
    while kills < KILLS and machine.guest().status().state == 1:  # it runs
        machine.fault("stop" if kills % 3 == 2 else "kill")
        kills += 1
        machine.wait_for("recovered")
    assert kills > 1
    assert machine.guest().wait().passed
    assert base.read_bytes() == before
    assert b"SVBLOCK1" not in (base.parent / "disk.top").read_bytes()


def test_a_top_file_goes_from_one_driver_to_the_next(bed, base):
    disk = stack(base.parent)
    machine = bed.start("blockcheck", [disk], "depth=32 passes=3")
    machine.wait_for_requests(64)
    machine.swap("blockcheck/disk0", disk.replace("iops=1000", "iops=2000"))
    assert machine.guest().wait().passed


def test_a_fault_of_the_script_is_the_guest_s_error(bed, base):
    script = base.parent / "script"
    script.write_text("write 40 error")
    machine = bed.start("blockcheck", [f"faulty:script={script},child=(file:path={base})"])
    end = machine.guest().wait()
    assert not end.passed
    assert "status 1" in end.output, end.output
