"""Storms on drivers that are wrong: the guest or the judges on the host must notice."""

import os
import shutil
from pathlib import Path

import pytest

from protos import core_pb2 as core
from splitvisor.checks import powercut
from splitvisor.checks.console import check_console
from splitvisor.checks.storm import parse
from splitvisor.checks.workload import Kind
from tests.end_to_end.storms import agree

MIB = 8
ENTRIES = """[splitvisor.drivers]
block.lost = wrong:Lost
block.torn = wrong:Torn
block.misplaced = wrong:Misplaced
block.failing = wrong:Failing
block.empty = wrong:Empty
block.stale = wrong:Stale
block.cached = wrong:Cached
block.logstructured = wrong:LogStructured
block.early = wrong:Early
console.doubling = wrong:Doubling
entropy.repeating = wrong:Repeating
"""


@pytest.fixture
def wrong_drivers(tmp_path, monkeypatch):
    """Makes the wrong drivers known to all splitvisors of the test."""
    folder = tmp_path / "wrong"
    info = folder / "wrong-1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("wrong.py"), folder)
    (info / "entry_points.txt").write_text(ENTRIES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("lost", ": expected writes "),
        ("torn", "found a wrong CRC"),
        ("misplaced", ": expected writes "),
        ("failing", "ended with status 1"),
        ("empty", "found zeros"),
        ("stale", ": expected writes "),
    ],
)
def test_the_guest_notices_a_disk_that_lies(splitvisor, guest, disk, wrong_drivers, driver, words):
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"{driver}:path={disk(1)}"),
        *("--", "ops=20000", "seconds=0"),
    )
    assert status == 1
    log = parse(output)
    assert log.verdict.startswith("FAIL LBA "), log.verdict
    assert words in log.verdict
    assert not check_console(output.encode(), log.workload).agrees


def test_errors_are_counted_where_they_may_happen(splitvisor, guest, disk, wrong_drivers):
    image = disk(1)
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"failing:path={image}"),
        *("--", "ops=5000", "seconds=0", "errors=1"),
    )
    assert status == 0, output
    log = parse(output)
    agree(log, output.encode(), image)
    assert len(log.failed) == log.result["errors"] > 3
    assert {log.workload.operation(n).kind for n in log.failed} == {Kind.WRITE}


def test_a_driver_that_keeps_writes_to_itself_is_caught_when_killed(
    splitvisor, guest, disk, testbed, wrong_drivers
):
    """And only then: while it lives nothing is wrong with it."""
    image = disk(MIB)
    alive = ("run", guest("storm"), "--disk", f"cached:path={image}", "--", "ops=5000", "flush=0")
    assert splitvisor(*alive)[0] == 0
    with image.open("r+b") as file:
        file.truncate(0)
        file.truncate(MIB << 20)
    machine = testbed.start("storm", [f"cached:path={image}"], "seconds=60 flush=0")
    guest = machine.guest()
    while guest.status().state != core.GUEST_ENDED:
        machine.fault("kill")
        machine.wait_for("recovered")
    assert guest.wait().storm.verdict.startswith("FAIL LBA ")


@pytest.mark.parametrize(("driver", "right"), [("logstructured", True), ("early", False)])
def test_the_loss_of_power_shows_who_flushes_too_late(
    testbed, disk, tmp_path, wrong_drivers, driver, right
):
    image = disk(1)
    machine = testbed.start("storm", [f"{driver}:path={image}"], "seconds=0 hz=1G")
    guest = machine.guest()
    guest.says("storm: flushed 20 ")
    machine.cut_power()
    said = guest.output().encode()
    log = parse(said.decode())
    assert log.durable > 20 * 250
    assert check_console(said, log.workload, stopped=True).agrees
    verdicts = []
    for seed in range(10):
        powercut.cut(image, image.with_name("disk.img.log"), seed, tmp_path / "cut.img")
        verdicts.append(
            powercut.judge(tmp_path / "cut.img", log.workload, log.durable, log.durable + 10_000)
        )
    assert [verdict.agrees for verdict in verdicts] == [right] * 10, verdicts


def test_entropy_that_comes_again_is_noticed(splitvisor, guest, disk, wrong_drivers):
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={disk(1)}", "--entropy", "repeating"),
        *("--", "ops=20000", "seconds=0", "entropy=100"),
    )
    assert status == 1
    assert parse(output).verdict.startswith("FAIL entropy read 6 brought 0x2 again")


def test_console_output_that_comes_twice_is_noticed(
    splitvisor, guest, disk, wrong_drivers, tmp_path
):
    path = tmp_path / "storm.log"
    status, *_ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={disk(1)}"),
        *("--console", f"doubling:path={path}", "--", "ops=20000", "seconds=0"),
    )
    assert status == 0
    said = path.read_bytes()
    verdict = check_console(said, parse(said.decode()).workload)
    assert not verdict.agrees
    assert verdict.problems[0].startswith("byte ")
