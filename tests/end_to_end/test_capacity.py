"""Disks that grow under a guest that says what it is told, and uses it at once."""

import os
import re

import pytest

from splitvisor.checks.stamps import BLOCK, check_block
from splitvisor.machine import CpuChoice
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed

MIB = 1 << 20
DISK = "file:path=disk.img"
SEED = 1  # the guest's


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def image(disk):
    return disk(1)


def started(bed, changes, more=""):
    machine = bed.start("capacity", [DISK], f"changes={changes} {more}", failpoints=True)
    machine.guest().says(f"capacity: {MIB} bytes")
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    return machine


def ended(machine, image, *grown, used=True):
    """Its end: it was told of these sizes and no others, and all that is new holds its blocks; what
    was there before does so as far as it had come.
    """
    verdict = machine.guest().wait()
    assert verdict.passed, verdict
    said = re.findall(r"capacity: (?:grown to )?(\d+) bytes|(still)", verdict.output)
    assert said == [(str(size), "") for size in (MIB, *grown)], verdict.output
    with image.open("rb") as file:
        for index in range(grown[-1] // BLOCK):
            block = file.read(BLOCK)
            new = index >= MIB // BLOCK
            if any(block) or (new and used):
                assert check_block(block, index, SEED)[0] == ""
                assert used or not new


@pytest.mark.parametrize("irq", [0, 1])
def test_a_disk_grows_with_a_swap_and_its_new_blocks_are_used(bed, image, irq):
    machine = started(bed, 2, f"irq={irq}")
    for size in (2 * MIB, 3 * MIB):
        os.truncate(image, size)
        machine.swap("disk0", DISK)
        machine.guest().says(f"capacity: grown to {size} bytes")
    ended(machine, image, 2 * MIB, 3 * MIB)
    assert machine.service().deaths == 0


@pytest.mark.parametrize("warm", [False, True])
def test_it_has_grown_for_good_when_its_service_os_dies_right_after_the_swap(bed, image, warm):
    machine = started(bed, 2)
    os.truncate(image, 2 * MIB)
    machine.swap("disk0", DISK)
    if warm:
        machine.wait_for_standby()
    machine.fault("kill")
    assert machine.wait_for("recovered").outage.warm >= warm
    machine.guest().says(f"capacity: grown to {2 * MIB} bytes")
    machine.wait_for_requests(64)
    machine.wait_for_standby()
    os.truncate(image, 3 * MIB)
    machine.swap("disk0", DISK)
    machine.fault("kill")
    machine.wait_for("recovered")
    ended(machine, image, 2 * MIB, 3 * MIB)


def test_a_shrink_is_refused_and_the_guest_not_told(bed, image):
    machine = started(bed, 2, "use=0")  # or the file would be too short for what it does
    os.truncate(image, 3 * MIB)
    machine.swap("disk0", DISK)
    machine.guest().says(f"capacity: grown to {3 * MIB} bytes")
    os.truncate(image, 2 * MIB)
    words = f"the disk has {2 * MIB} bytes, and the guest knows {3 * MIB}: give one"
    with pytest.raises(MachineFailure, match=words):
        machine.swap("disk0", DISK)
    machine.wait_for_requests(64)
    os.truncate(image, 4 * MIB)
    machine.swap("disk0", DISK)
    ended(machine, image, 3 * MIB, 4 * MIB, used=False)


def test_a_file_that_has_grown_is_told_of_by_who_takes_over_from_the_dead(bed, image):
    machine = started(bed, 1)
    os.truncate(image, 2 * MIB)
    machine.fault("kill")
    ended(machine, image, 2 * MIB)
    assert machine.service().deaths == 1
