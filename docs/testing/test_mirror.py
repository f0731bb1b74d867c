"""The two halves stay the same, whatever becomes of the process that writes them."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE / "mirror.py"


@pytest.fixture
def halves(tmp_path):
    paths = [tmp_path / "a.img", tmp_path / "b.img"]
    for path in paths:
        with path.open("wb") as image:
            image.truncate(8 << 20)
    return paths


def start(testbed, seconds):
    return testbed.start(
        "storm",
        disks=["mirror:first=a.img,second=b.img"],
        arguments=f"seconds={seconds}",
        failpoints=True,
    )


def test_kills_leave_two_equal_halves(testbed, halves):
    testbed.lend(HERE, {"block.mirror": "mirror:Mirror"})
    machine = start(testbed, seconds=20)
    for point in ("after-receive", "mid-batch", "after-execute"):
        machine.wait_for_standby()
        machine.fault("kill", at=point, device="disk0")
        machine.wait_for("recovered")
    verdict = machine.guest().wait()
    assert verdict.passed, verdict
    assert verdict.io_errors == 0
    assert len(machine.outages) == 3
    assert halves[0].read_bytes() == halves[1].read_bytes()


def test_an_upgrade_brings_the_new_version(testbed, halves, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "mirror.py").write_text(SOURCE.read_text())
    testbed.lend(code, {"block.mirror": "mirror:Mirror"})
    machine = start(testbed, seconds=10)
    machine.wait_for_requests(100)
    new = code / "mirror.py"
    new.write_text(new.read_text() + f"\n\nPath({str(tmp_path / 'new')!r}).touch()\n")
    machine.upgrade()
    machine.wait_for_requests(100)
    assert (tmp_path / "new").exists()
    assert machine.wait_for("recovered").outage.planned
    assert machine.guest().wait().passed
    assert halves[0].read_bytes() == halves[1].read_bytes()
