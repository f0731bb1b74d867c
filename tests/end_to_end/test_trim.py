"""A guest that gives blocks up, and judges what it reads of them from then on."""

import os
import re

import pytest

from splitvisor.machine import CpuChoice
from splitvisor.testing.testbed import Testbed

MIB = 4
WRONG = """
from drivers.block_file import FileBlock

class Greedy(FileBlock):
    def discard(self, offset, length):
        super().discard(offset, length + 4096)

class Lazy(FileBlock):
    def write_zeroes(self, offset, length, unmap):
        if not unmap:
            super().write_zeroes(offset, length, unmap)
"""


@pytest.fixture
def holes(tmp_path):
    """Skips where the file system of the tests has none."""
    path = tmp_path / "holes"
    path.write_bytes(bytes(4096))
    os.truncate(path, 1 << 20)
    if space(path) > 1 << 19:
        pytest.skip("the file system of the tests has no holes")


def space(path):
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_blocks * 512


def judge(splitvisor, guest, cpu, spec, words):
    status, output, errors = splitvisor(
        *("run", guest("blockcheck"), "--cpu", cpu, "--disk", spec),
        *("--", "trim=1", "depth=32", *words),
    )
    return status, output, errors


@pytest.mark.parametrize("options", ["", ",direct"])
def test_what_is_given_up_is_holes_of_the_file(splitvisor, guest, cpu, disk, holes, options):
    path = disk(MIB)
    status, output, errors = judge(splitvisor, guest, cpu, f"file:path={path}{options}", ())
    assert (status, errors) == (0, ""), output
    assert "given up (discard offered, write zeroes offered)\n" in output
    taken = space(path) / (MIB << 20)  # three blocks of eight are discarded or unmapped
    assert 0.5 < taken < 0.75


def test_without_discard_the_file_keeps_its_space(splitvisor, guest, disk, holes):
    path = disk(MIB)
    status, output, _ = judge(splitvisor, guest, "auto", f"file:path={path},discard=off", ())
    assert status == 0, output
    assert "(discard not offered, write zeroes offered)\n" in output
    assert space(path) >= MIB << 20


@pytest.mark.parametrize("discard", ["off", "on"])
def test_an_encrypted_disk_gives_space_up_only_if_it_may(splitvisor, guest, disk, holes, discard):
    path = disk(MIB)
    path.with_name("key").write_bytes(os.urandom(64))
    spec = f"encrypt:key={path.with_name('key')},child=(file:path={path}),discard={discard}"
    status, output, _ = judge(splitvisor, guest, "auto", spec, ())
    assert status == 0, output
    offered = "offered" if discard == "on" else "not offered"
    assert f"(discard {offered}, write zeroes offered)\n" in output
    assert (space(path) < 0.75 * (MIB << 20)) == (discard == "on")


def test_a_memory_disk_can_do_it_too(splitvisor, guest, cpu):
    status, output, _ = judge(splitvisor, guest, cpu, f"memory:size={MIB}M", ())
    assert status == 0, output
    assert "given up (discard offered, write zeroes offered)\n" in output


def test_a_service_os_that_dies_while_blocks_are_given_up(tmp_path, disk, cpu):
    disk(MIB)
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        machine = bed.start("blockcheck", ["file:path=disk.img,direct"], "depth=32 trim=1")
        for moment in ("1 trim 10%", "1 trim 60%", "2 write and read 10%", "2 trim 10%"):
            machine.guest().says(f"pass {moment}")
            machine.fault("kill")
            machine.wait_for("recovered")
        ended = machine.guest().wait()
        assert ended.passed, ended


@pytest.mark.parametrize(
    ("driver", "words"),
    [("greedy", r"FAIL block \d+ .*: magic"), ("lazy", r"FAIL block \d+ .*: zeros were written")],
)
def test_the_guest_notices_a_disk_that_gives_up_too_much_or_nothing(tmp_path, disk, driver, words):
    disk(MIB)
    (tmp_path / "trimmers.py").write_text(WRONG)
    with Testbed(tmp_path) as bed:
        bed.lend(tmp_path, {f"block.{driver}": f"trimmers:{driver.title()}"})
        machine = bed.start("blockcheck", [f"{driver}:path=disk.img"], "depth=32 trim=1")
        ended = machine.guest().wait()
        assert not ended.passed
        assert re.search(words, ended.output)
