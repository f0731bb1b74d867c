"""An image is away while its service OS dies: the other devices go on, and it comes back."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from splitvisor.machine import DEFAULT_SERVICE, CpuChoice, ServiceSettings
from splitvisor.testing.description import Guest
from splitvisor.testing.testbed import Testbed, guest_image
from tests.end_to_end.conftest import PATIENCE, SPLITVISOR
from tests.end_to_end.storms import agree

MIB = 8
OPERATIONS = {"kvm": 60_000, "emulated": 3_000}
DISK = "storm/disk0"


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def image(disk):
    return disk(MIB)


def start(bed, image, cpu, outage="hold", operations=0):
    """A storm on the image, and a guest beside it that never ends, on a disk of its own."""
    with (bed.folder / "other.img").open("wb") as other:
        other.truncate(4 << 20)
    arguments = f"ops={operations or OPERATIONS[cpu]} seconds=0 seed=7 hz=1G entropy=200 errors=1"
    storm = Guest("storm", guest_image("storm"), arguments, [f"file:path={image}"], outage=outage)
    endless = guest_image("blockcheck"), "depth=4 passes=100000", ["file:path=other.img"]
    guests = [replace(guest, cpu=CpuChoice(cpu)) for guest in (storm, Guest("other", *endless))]
    machine = bed.start_all("test", guests, {DEFAULT_SERVICE: ServiceSettings()})
    machine.wait_for_standby()
    machine.wait_for_requests(OPERATIONS[cpu] // 10, DISK)
    return machine


def lose(machine, image):
    """Active and standby die while the image is elsewhere; where it is."""
    elsewhere = image.rename(image.with_suffix(".away"))
    machine.fault("kill", standby=True)
    machine.fault("kill")
    unserved = machine.wait_for("device-unserved")
    assert unserved.device == DISK
    assert "does not exist" in unserved.text
    return elsewhere


def give_back(machine, elsewhere, image):
    """It is served again by who served the others; with the outage of those over for long."""
    serving = machine.wait_for("recovered").epoch
    elsewhere.rename(image)
    assert machine.wait_for("device-served").device == DISK
    assert machine.device(DISK).epoch == machine.service().epoch == serving
    assert not machine.service().unserved
    assert machine.service().longest_absence.device == DISK


def say(machine, *words):
    """What a command about the machine prints."""
    root = Path(machine.status().run_dir).parent
    command = [SPLITVISOR, "--run-root", root, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)


def test_the_others_go_on_it_is_said_why_and_nothing_is_lost(bed, image, cpu):
    machine = start(bed, image, cpu)
    elsewhere = lose(machine, image)
    serving = machine.wait_for("recovered").epoch
    assert machine.device("storm/hvc0").epoch == serving
    assert not machine.device(DISK).attached
    machine.wait_for_requests(64, "other/disk0")
    why = "does not exist"
    (unserved,) = json.loads(say(machine, "service", "status", "--json").stdout)["services"][0][
        "unserved"
    ]
    assert unserved["device"] == DISK
    assert why in unserved["reason"]
    assert f"{DISK} is not served, for " in say(machine, "service", "status").stdout
    listed = say(machine, "ps").stdout
    assert "nobody (not attached)" in listed
    assert "not served: " in listed
    assert "is away" not in listed
    elsewhere.rename(image)
    assert machine.wait_for("device-served").device == DISK
    assert machine.device(DISK).epoch == machine.service().epoch == serving
    assert not machine.service().unserved
    verdict = machine.guest("storm").wait()
    agree(verdict.storm, verdict.output.encode(), image)
    assert verdict.io_errors == 0
    assert len([e for e in machine.story.events if e.kind == "device-unserved"]) == 1


def test_its_guest_is_paused_until_it_is_served_again(bed, image, cpu):
    machine = start(bed, image, cpu, outage="pause after 1ms")
    elsewhere = lose(machine, image)
    assert machine.wait_for("outage-policy").text.endswith("has served it for 1ms")
    give_back(machine, elsewhere, image)
    machine.wait_for("guest-resumed")
    verdict = machine.guest("storm").wait()
    agree(verdict.storm, verdict.output.encode(), image)
    assert verdict.io_errors == 0


def test_its_requests_fail_until_it_is_served_again(bed, image, cpu):
    machine = start(bed, image, cpu, outage="error after 5s", operations=100_000_000)
    elsewhere = lose(machine, image)
    machine.wait_until("it to fail", lambda: machine.device(DISK).failing or None, PATIENCE)
    machine.wait_for_requests(64, DISK)  # which failed
    assert not machine.device("other/disk0").failing
    give_back(machine, elsewhere, image)
    assert not machine.device(DISK).failing
    machine.wait_for_requests(64, DISK)


def test_an_upgrade_goes_on_without_it_and_tries_it_again(bed, image, cpu):
    machine = start(bed, image, cpu)
    elsewhere = lose(machine, image)
    machine.wait_for("recovered")
    reply = machine.upgrade()
    assert machine.service().unserved[0].device == DISK
    give_back(machine, elsewhere, image)
    assert machine.service().epoch == reply.epoch
    verdict = machine.guest("storm").wait()
    agree(verdict.storm, verdict.output.encode(), image)
