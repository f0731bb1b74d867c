"""Service OSes die in every way there is, under a real guest that judges what it gets.

blockcheck verifies each block that it has written, so its PASS says that nothing was lost, done
twice in another order, or failed.
"""

import re

import pytest

from splitvisor.machine import CpuChoice, ServiceSettings
from splitvisor.testing.description import Guest
from splitvisor.testing.testbed import Testbed, guest_image

WORK = "depth=32 passes=400"  # more than anybody waits for
DISK = "memory:size=4M"


@pytest.fixture
def bed(tmp_path, cpu):
    with Testbed(tmp_path, CpuChoice(cpu)) as bed:
        yield bed


@pytest.fixture
def disk(tmp_path):
    with (tmp_path / "disk.img").open("wb") as image:
        image.truncate(4 << 20)
    return "file:path=disk.img"


def start(bed, *disks, passes=0, **settings):
    arguments = f"depth=32 passes={passes}" if passes else WORK
    machine = bed.start("blockcheck", list(disks), arguments, **settings)
    if settings.get("standby", True):
        machine.wait_for_standby()
    machine.wait_for_requests(64)
    return machine


def recovered(machine):
    """The outage that ends next; the guest goes on."""
    outage = machine.wait_for("recovered").outage
    machine.wait_for_requests(64)
    assert machine.guest().status().state == 1  # running
    return outage


def test_a_standby_takes_over_from_one_that_is_killed(bed, disk):
    machine = start(bed, disk)
    before = machine.service()
    reply = machine.fault("kill")
    assert reply.pid == before.pid
    outage = recovered(machine)
    assert outage.warm
    assert outage.cause == "died by signal 9 (SIGKILL)"
    moments = [outage.killed, outage.detected, outage.fenced, outage.promoted, outage.attached]
    assert moments == sorted(moments)
    assert machine.service().pid == before.standby.pid


def test_without_a_standby_the_next_one_is_started(bed, disk):
    machine = start(bed, disk, standby=False)
    machine.fault("kill")
    assert not recovered(machine).warm


def test_one_that_is_stopped_is_replaced_at_once(bed, disk):
    machine = start(bed, disk)
    machine.fault("stop")
    assert recovered(machine).cause == "stopped"


def test_active_and_standby_may_die_together(bed, disk):
    machine = start(bed, disk)
    machine.fault("kill", standby=True)
    machine.fault("kill")
    assert recovered(machine).cause == "died by signal 9 (SIGKILL)"


def test_a_standby_is_replaced_unnoticed(bed, disk):
    machine = start(bed, disk)
    epoch = machine.service().standby.epoch
    machine.fault("stop", standby=True)
    assert machine.wait_for("standby-lost").epoch == epoch
    machine.wait_for_standby()
    assert machine.service().deaths == 0
    assert machine.outages == []


@pytest.mark.parametrize("point", ["after-receive", "after-execute", "before-reply", "after-reply"])
def test_a_death_at_any_point_of_a_request(bed, disk, point):
    machine = start(bed, disk, failpoints=True)
    machine.fault("kill", at=point, device="disk0", nth=3)
    recovered(machine)


@pytest.mark.parametrize("point", ["promotion", "attached", "replay-received", "replay-executed"])
def test_a_death_in_the_middle_of_a_recovery(bed, disk, point):
    machine = start(bed, disk, failpoints=True)
    machine.fault("kill", at=point, device="disk0", standby=True)
    machine.fault("kill", at="after-receive", device="disk0")  # so that there is something to do
    outage = recovered(machine)
    assert machine.service().deaths == 2, machine.story.text()
    assert outage.requests > 0


@pytest.mark.parametrize("action", ["hang", "spin"])
def test_one_that_lives_and_completes_nothing_is_replaced(bed, disk, action):
    machine = start(bed, disk, failpoints=True)
    machine.fault(action, at="after-receive", device="disk0")
    assert recovered(machine).cause.startswith("blockcheck/disk0: nothing completed for ")


@pytest.mark.parametrize("point", ["after-execute", "before-reply"])
def test_one_that_loses_completions_is_replaced(bed, disk, point):
    machine = start(bed, disk, failpoints=True)
    machine.fault("drop", at=point, device="disk0")
    overtaken = "disk0 was lost: a completion of queue 0 was lost: others overtake it"
    silent = "disk0: nothing completed for "  # if it was the last one for now
    assert re.match(f"blockcheck/({overtaken}|{silent})", recovered(machine).cause)


def test_one_that_answers_nonsense_is_replaced(bed, disk):
    machine = start(bed, disk, failpoints=True)
    machine.fault("garble", how="nonsense", device="disk0")
    assert recovered(machine).cause.startswith("blockcheck/disk0 was lost: ")


@pytest.mark.parametrize("point", ["opening", "attached", "replay-received"])
def test_a_device_that_kills_is_quarantined_and_other_devices_go_on(bed, disk, point):
    machine = start(bed, DISK, disk, failpoints=True, standby=point != "opening")
    machine.fault("kill", at=point, device="disk0", times=0, every_incarnation=True)
    machine.fault("kill", at="after-receive", device="disk0")
    quarantined = machine.wait_for("quarantined")
    assert quarantined.device == "blockcheck/disk0"
    assert not machine.guest().wait().passed  # it was told of an I/O error
    assert machine.service().quarantined[0].device == "blockcheck/disk0"
    assert machine.device("disk0").failing
    assert not machine.device("hvc0").failing
    machine.clear_faults()
    machine.release("blockcheck/disk0")
    assert machine.wait_for("device-released").device == "blockcheck/disk0"
    machine.wait_until("its release", lambda: not machine.device("disk0").failing or None, 60)


@pytest.mark.parametrize("outage", ["hold", "error"])
def test_an_upgrade_under_load_is_a_pause(bed, disk, outage):
    machine = start(bed, disk, outage=outage)
    before = machine.service()
    reply = machine.upgrade()
    assert reply.epoch > before.standby.epoch  # the standby has the old code
    assert recovered(machine).planned
    after = machine.service()
    assert (after.pid, after.upgrades, after.deaths) == (reply.pid, 1, 0)
    assert "outage-policy" not in {event.kind for event in machine.story.events}


def test_what_cannot_be_released_is_not_upgraded_and_serves_on(bed, disk):
    machine = start(bed, disk, failpoints=True, watchdog=False)
    machine.fault("hang", at="after-receive", device="disk0")
    with pytest.raises(Exception, match="is not upgraded: it does not finish"):
        machine.upgrade()
    machine.fault("kill")
    recovered(machine)


def test_requests_fail_when_an_outage_is_too_long(bed, disk):
    machine = start(bed, disk, standby=False, failpoints=True, outage="error after 1ms")
    machine.fault("hang", at="opening", every_incarnation=True, times=0)
    machine.fault("kill")
    assert (
        machine.wait_for("outage-policy").text == "its requests fail: nobody has served it for 1ms"
    )
    assert not machine.guest().wait().passed


def test_a_guest_is_paused_in_an_outage_and_goes_on_after_it(bed, disk):
    machine = start(bed, disk, standby=False, outage="pause")
    machine.fault("kill")
    assert machine.wait_for("outage-policy").text.endswith("is paused: nobody serves it")
    machine.wait_for("guest-paused")
    machine.wait_for("guest-resumed")
    recovered(machine)


def test_the_death_of_one_service_os_leaves_the_devices_of_another_alone(bed, cpu):
    guests = [
        Guest(name, guest_image("blockcheck"), WORK, [DISK], cpu=CpuChoice(cpu), service=service)
        for name, service in (("web", "left"), ("db", "right"))
    ]
    machine = bed.start_all("two", guests, {"left": ServiceSettings(), "right": ServiceSettings()})
    machine.wait_for_standby()
    other = machine.service("right")
    machine.fault("kill", service="left")
    machine.wait_for("recovered")
    assert machine.service("left").deaths == 1
    after = machine.service("right")
    assert (after.pid, after.epoch, after.deaths) == (other.pid, other.epoch, 0)
    assert {e.service for e in machine.story.events if e.kind == "device-lost"} <= {"left"}


def test_a_guest_that_is_killed_under_all_the_time_passes(bed, disk, cpu):
    machine = start(bed, disk, passes=4 if cpu == "emulated" else 30)
    kills = 0
    while machine.guest().status().state == 1:
        machine.fault("stop" if kills % 3 == 2 else "kill")
        kills += 1
        machine.wait_for("recovered")
    assert kills > 1
    assert machine.guest().wait().passed
