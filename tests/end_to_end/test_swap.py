"""Drivers are swapped under guests that judge what they get, and while things go wrong."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from splitvisor.machine import CpuChoice
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed
from tests.end_to_end.conftest import PATIENCE, SPLITVISOR
from tests.end_to_end.storms import agree

MIB = 8
SWAPS = 30
DISK = "file:path=disk.img"
LIMITED = "throttle:iops=1000000,child=(file:path=disk.img)"


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def image(disk):
    return disk(MIB)


@pytest.fixture
def machine(bed, image):
    """blockcheck on the image, which it verifies for longer than anybody waits."""
    machine = bed.start("blockcheck", [DISK], "depth=32 passes=400", failpoints=True)
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    return machine


def absolute(spec, bed):
    return spec.replace("path=", f"path={bed.folder}/")


def goes_on(machine):
    machine.wait_for_requests(64)
    assert machine.guest().status().state == 1  # running


def refused(machine, device, spec, **more):
    """Why, in one line; everything is as before."""
    before = machine.device(device).spec
    with pytest.raises(MachineFailure) as raised:
        machine.swap(device, spec, **more)
    assert machine.device(device).spec == before
    goes_on(machine)
    assert machine.service().deaths == 0
    return str(raised.value)


def test_a_driver_whose_import_ends_the_process_ends_nobody(bed, image, tmp_path):
    (tmp_path / "quitter.py").write_text("import os\nos._exit(3)\n")
    bed.lend(tmp_path, {"block.quitter": "quitter:Disk"})
    machine = bed.start("blockcheck", [DISK], "depth=32 passes=400")
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    said = refused(machine, "disk0", f"throttle:iops=9,child=(quitter:path={image})")
    assert "importing it ends the process (status 3)" in said


def test_a_disk_is_swapped_under_a_storm_again_and_again(bed, image):
    machine = bed.start("storm", [DISK], "seconds=10 seed=7 hz=1G entropy=200")
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    specs = [absolute(spec, bed) for spec in (DISK, LIMITED)]
    for number in range(1, SWAPS + 1):
        reply = machine.swap("disk0", specs[number % 2])
        assert (reply.swap.old, reply.swap.new) == (specs[(number + 1) % 2], specs[number % 2])
        event = machine.wait_for("driver-swapped")
        assert (event.device, event.epoch) == ("storm/disk0", reply.epoch)
    verdict = machine.guest().wait()
    agree(verdict.storm, machine.guest().console.read_bytes(), image)
    assert verdict.io_errors == 0
    assert (machine.service().deaths, machine.outages) == (0, [])


@pytest.mark.parametrize("point", ["opening", "promotion", "attached"])
def test_a_death_in_the_middle_of_a_swap_leaves_the_old_or_the_new(bed, machine, point):
    old, new = (absolute(spec, bed) for spec in (DISK, LIMITED))
    machine.fault("kill", at=point, device="disk0")
    with pytest.raises(MachineFailure, match=re.escape("blockcheck/disk0 keeps its driver: ")):
        machine.swap("disk0", new)
    assert machine.wait_for("recovered").outage.cause == "died by signal 9 (SIGKILL)"
    goes_on(machine)
    assert machine.device("disk0").spec == old
    assert machine.wait_for("driver-swap-failed").device == "blockcheck/disk0"
    machine.wait_for_standby()
    machine.swap("disk0", new)
    assert machine.device("disk0").spec == new
    machine.fault("kill")
    machine.wait_for("recovered")
    goes_on(machine)
    assert machine.device("disk0").spec == new


def test_a_standby_takes_over_with_the_driver_that_is_there(bed, machine):
    machine.swap("disk0", LIMITED)
    machine.wait_for_standby()
    machine.fault("kill")
    assert machine.wait_for("recovered").outage.warm
    goes_on(machine)
    assert machine.device("disk0").spec == absolute(LIMITED, bed)


def test_what_cannot_be_leaves_the_old_driver(bed, machine, image):
    (bed.folder / "other.img").write_bytes(bytes(MIB << 20))
    direct = "throttle:iops=0,child=(file:path=disk.img)"
    assert "no limit: give iops=500" in refused(machine, "disk0", direct)
    assert "did you mean 'file'" in refused(machine, "disk0", "fil:path=disk.img")
    said = refused(machine, "disk0", "file:path=other.img")
    assert "serves other content than" in said
    assert "--replace gives" in said
    said = refused(machine, "disk0", "file:path=other.img", replace=True)
    assert "guest blockcheck uses device disk0" in said
    image.rename(image.with_suffix(".away"))
    said = refused(machine, "disk0", DISK)
    image.with_suffix(".away").rename(image)
    assert f"disk {image} does not exist" in said
    assert "the disk as one it can write to" in refused(machine, "disk0", f"{DISK},readonly")
    said = refused(machine, "hvc0", "log:path=disk.img")
    assert "disk.img is used by blockcheck/hvc0 and blockcheck/disk0" in said


def test_a_console_goes_to_and_fro(bed, machine):
    for spec in (
        "unix:path=console.sock",
        f"pty:link={bed.folder}/tty",
        "null",
        "unix:path=console.sock",
    ):
        machine.swap("hvc0", spec)
        goes_on(machine)
        assert machine.device("hvc0").spec == absolute(spec, bed)
    machine.fault("kill")
    machine.wait_for("recovered")
    machine.swap("hvc0", pty := f"pty:link={bed.folder}/tty")
    goes_on(machine)
    assert machine.device("hvc0").spec == pty


def test_a_disk_may_grow_and_not_shrink(machine, image):
    os.truncate(image, 2 * MIB << 20)
    machine.swap("disk0", DISK)
    goes_on(machine)
    os.truncate(image, MIB << 20)  # nobody has been beyond that
    said = refused(machine, "disk0", DISK)
    wanted = f"the disk has {MIB << 20} bytes, and the guest knows {2 * MIB << 20}: give one"
    assert wanted in said


def test_consoles_and_entropy_have_no_content(bed, machine):
    log = bed.folder / "blockcheck.log"
    said, yesterday = log.read_bytes(), b"of yesterday\n" * 10_000
    other = bed.folder / "other.log"
    other.write_bytes(yesterday)
    machine.swap("hvc0", "null")
    machine.swap("hvc0", "log:path=other.log")
    goes_on(machine)
    machine.swap("hvc0", "log:path=blockcheck.log")
    machine.swap("rng0", "seeded:seed=5")
    goes_on(machine)
    assert log.read_bytes().startswith(said)
    assert b"\0" not in log.read_bytes()
    assert other.read_bytes().startswith(yesterday)
    assert [d.spec.partition(":")[0] for d in machine.status().guests[0].devices] == [
        *("log", "seeded", "file"),
    ]


def test_the_command_line_roots_paths_where_it_is_used(bed, machine, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = Path(machine.status().run_dir).parent
    command = [SPLITVISOR, "--run-root", root, "driver", "swap"]
    spec = "throttle:iops=1000000,child=(file:path=../disk.img)"

    def swap(*arguments):
        return subprocess.run(
            [*command, *arguments],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    done = swap("test/blockcheck/disk0", spec)
    assert (done.returncode, done.stderr) == (0, "")
    new = f"throttle:iops=1000000,child=(file:path={elsewhere}/../disk.img)"
    old = absolute(DISK, bed)
    line = re.escape(f"blockcheck/disk0: {old} → {new} in ")
    assert re.fullmatch(rf"{line}\d+\.\d ms\n", done.stdout)
    done = swap("blockcheck/disk0", f"file:path={bed.folder}/disk.img", "--json")
    swapped = json.loads(done.stdout)["swap"]
    assert (swapped["old"], swapped["new"]) == (new, old)
    done = swap("blockcheck/disk9", DISK)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no device 'blockcheck/disk9'" in done.stderr
