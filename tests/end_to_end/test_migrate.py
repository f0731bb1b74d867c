"""Disks that move to other files under guests that judge what they get, while things go wrong."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from protos import operator_pb2 as operator
from splitvisor.machine import CpuChoice
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed
from tests.end_to_end.conftest import PATIENCE, SPLITVISOR
from tests.end_to_end.storms import agree

MIB = 64
SIZE = MIB << 20
DISK, NEW = "file:path=disk.img", "file:path=new.img"
SLOW = 8 << 20  # bytes a second: some seconds of copying


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def image(disk):
    return disk(MIB)


@pytest.fixture
def new(bed, image):
    path = bed.folder / "new.img"
    path.write_bytes(b"x" * SIZE)
    return path


@pytest.fixture
def machine(bed, new):
    """blockcheck on the image, which it verifies for longer than anybody waits."""
    machine = bed.start("blockcheck", [DISK], "depth=32 passes=400", failpoints=True)
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    return machine


def spec_of(machine):
    return re.sub(r"path=[^,)]*/", "path=", machine.device("disk0").spec)


def ended(machine):
    """What became of the migration."""

    def look():
        found = machine.migration("disk0")
        return found if found.state >= operator.MIGRATION_DONE else None

    return machine.wait_until("the end of the migration", look, 120)


def copied(machine, part):
    """Until that part of the disk is copied."""

    def look():
        found = machine.migration("disk0")
        assert found.state == operator.MIGRATION_COPYING
        return (found.total and found.done >= part * found.total) or None

    machine.wait_until("a part of the copy", look, 120)


def goes_on(machine):
    machine.wait_for_requests(64)
    assert machine.guest().status().state == 1  # running


def test_a_disk_moves_under_a_storm_and_has_all_that_the_guest_believes(bed, image, new):
    machine = bed.start("storm", [DISK], "seconds=12 seed=7 hz=1G blocks=4096 entropy=200")
    machine.wait_for_standby()
    machine.wait_for_requests(64)
    begun = machine.migrate("disk0", NEW)
    assert (begun.device, begun.old) == ("storm/disk0", f"file:path={image}")
    done = ended(machine)
    assert (done.state, done.problem) == (operator.MIGRATION_DONE, "")
    assert spec_of(machine) == NEW
    assert done.pause_ms > 0
    assert machine.wait_for("disk-migrating").device == "storm/disk0"
    assert f"{image} → file:path={new} after" in machine.wait_for("disk-migrated").text
    frozen = image.read_bytes()
    verdict = machine.guest().wait()
    agree(verdict.storm, machine.guest().console.read_bytes(), new)
    assert verdict.io_errors == 0
    assert (machine.service().deaths, machine.outages) == (0, [])
    machine.end()
    assert image.read_bytes() == frozen  # nothing goes there any more
    assert len(new.read_bytes()) == SIZE


def test_a_service_os_that_dies_in_the_middle_begins_anew_and_arrives(machine, image, new):
    machine.migrate("disk0", NEW, rate=SLOW)
    for _ in range(2):
        copied(machine, 0.2)
        assert machine.service().migrations[0].state == operator.MIGRATION_COPYING
        machine.fault("kill")
        machine.wait_for("recovered")
        goes_on(machine)
        assert spec_of(machine).startswith("migrate:")
    done = ended(machine)
    assert (done.state, done.problem) == (operator.MIGRATION_DONE, "")
    assert spec_of(machine) == NEW
    assert not machine.service().migrations
    goes_on(machine)
    machine.fault("kill")
    machine.wait_for("recovered")
    goes_on(machine)
    assert spec_of(machine) == NEW


@pytest.mark.parametrize("point", ["opening", "promotion", "attached"])
def test_a_death_in_the_middle_of_the_pivot_is_one_more_try(machine, point):
    machine.migrate("disk0", NEW, rate=4 * SLOW)
    machine.fault("kill", at=point, device="disk0")  # of whoever comes next
    done = ended(machine)
    assert (done.state, done.problem) == (operator.MIGRATION_DONE, "")
    assert machine.service().deaths == 1
    assert spec_of(machine) == NEW
    goes_on(machine)


def test_an_abort_leaves_the_old_driver(machine, image, new):
    machine.migrate("disk0", NEW, rate=SLOW)
    copied(machine, 0.1)
    said = {}
    for what, act in {
        "swap": lambda: machine.swap("disk0", DISK),
        "again": lambda: machine.migrate("disk0", NEW),
    }.items():
        with pytest.raises(MachineFailure) as raised:
            act()
        said[what] = str(raised.value)
    assert "is being copied: wait, or end that with 'splitvisor driver abort" in said["swap"]
    assert "is being copied already" in said["again"]
    aborted = machine.abort_migration("disk0")
    assert (aborted.state, aborted.problem) == (operator.MIGRATION_ABORTED, "")
    assert spec_of(machine) == DISK
    goes_on(machine)
    assert machine.wait_for("disk-migration-failed").text == "an operator ended it"
    with pytest.raises(MachineFailure, match="that has ended"):
        machine.abort_migration("disk0")
    machine.migrate("disk0", NEW)
    assert ended(machine).state == operator.MIGRATION_DONE


def test_a_target_that_fails_leaves_the_old_driver(bed, machine):
    (bed.folder / "script").write_text("write 20 error\n")
    machine.migrate("disk0", "faulty:script=script,child=(file:path=new.img)")
    failed = ended(machine)
    assert failed.state == operator.MIGRATION_FAILED
    assert "write 20 was to fail" in failed.problem
    assert spec_of(machine) == DISK
    goes_on(machine)
    assert machine.service().deaths == 0


def test_what_cannot_be_is_refused_at_once(bed, machine, new):
    def refused(device, spec):
        with pytest.raises(MachineFailure) as raised:
            machine.migrate(device, spec)
        assert spec_of(machine) == DISK
        goes_on(machine)
        return str(raised.value)

    assert "serves the same: swap the driver without a copy" in refused("disk0", DISK)
    assert "did you mean 'file'" in refused("disk0", "fil:path=new.img")
    assert "has no content to copy: swap its driver" in refused("hvc0", "null")
    assert "does not exist: make it with" in refused("disk0", "file:path=none.img")
    assert "target of a copy is read-only" in refused("disk0", f"{NEW},readonly")
    overlap = "mirror:children=((file:path=new.img),(file:path=disk.img)),state=state"
    assert "is used twice by blockcheck/disk0" in refused("disk0", overlap)
    os.truncate(new, SIZE - 512)
    assert "make it at least as large" in refused("disk0", NEW)


def test_a_larger_target_is_a_disk_that_grows(machine, new):
    os.truncate(new, SIZE + (1 << 20))
    machine.migrate("disk0", NEW)
    assert ended(machine).state == operator.MIGRATION_DONE
    goes_on(machine)


def command(machine, *arguments):
    root = Path(machine.status().run_dir).parent
    return [SPLITVISOR, "--run-root", str(root), "driver", *arguments]


def test_the_command_shows_how_far_it_is(bed, machine):
    done = subprocess.run(
        command(machine, "swap", "blockcheck/disk0", NEW, "--copy", "--json"),
        cwd=bed.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["state"], lines[-1]["state"]) == ("copying", "done")
    assert spec_of(machine) == NEW
    done = subprocess.run(
        command(machine, "swap", "test/blockcheck/disk0", DISK, "--copy"),
        cwd=bed.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = r"blockcheck/disk0: file:path=\S+new.img → file:path=\S+disk.img, copied in [\d.]+ s, "
    assert re.search(line + r"longest pause [\d.]+ ms\n$", done.stdout)


def test_an_interrupt_of_the_command_ends_the_copy(bed, machine):
    process = subprocess.Popen(
        command(machine, "swap", "blockcheck/disk0", NEW, "--copy", "--rate", "4M"),
        cwd=bed.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    machine.wait_for("disk-migrating")
    copied(machine, 0.01)
    ps = subprocess.run(
        [*command(machine)[:3], "service", "status"], capture_output=True, text=True, check=True
    )
    assert re.search(r"blockcheck/disk0 is being copied to file:path=\S+new.img: \d+ %", ps.stdout)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "blockcheck/disk0 keeps its driver: the copy was ended" in said
    assert spec_of(machine) == DISK
    goes_on(machine)


def test_abort_ends_what_somebody_else_has_begun(bed, machine):
    machine.migrate("disk0", NEW, rate=SLOW)
    began = time.monotonic()
    done = subprocess.run(
        command(machine, "abort", "blockcheck/disk0"), capture_output=True, text=True, check=True
    )
    assert time.monotonic() - began < PATIENCE
    assert "blockcheck/disk0 keeps its driver: the copy was ended" in done.stdout
    assert spec_of(machine) == DISK
