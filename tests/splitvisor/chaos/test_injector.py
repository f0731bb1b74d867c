"""What comes of faults at a real machine under load."""

import time
from dataclasses import replace

import pytest

from splitvisor.chaos import injector
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.round import Round
from splitvisor.chaos.schedule import Injection
from splitvisor.checks.clock import cycles_per_second
from splitvisor.testing.description import com1_log
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed

PLAN = Plan(seed=3, seconds=600, kinds=("garble",), size=4 << 20, depth=8, disk=Disk.MEMORY)
NEVER = 10**9  # requests


@pytest.fixture
def under_load(tmp_path):
    """A round whose guest loads its disk."""
    with Testbed(tmp_path) as bed:
        this = Round(PLAN, bed, PLAN.seed, PLAN.seconds, cycles_per_second())
        this.machine.guest("storm0").says("storm: start")
        this.machine.wait_for_standby()
        yield this


def garble(how, nth=1):
    return Injection(0, "garble", 0.0, 0, "disk0", "before-reply", nth=nth, how=how)


def test_one_that_does_no_harm_is_survived_as_soon_as_the_disk_goes_on(under_load, monkeypatch):
    monkeypatch.setattr(injector, "BITE", 3600.0)  # longer than a test may take
    epoch = under_load.machine.service().epoch
    under_load.injector.carry_out(garble("twice"))
    assert (under_load.injector.survived, under_load.injector.idle) == ({"garble": 1}, {})
    assert under_load.machine.service().epoch == epoch


def test_one_that_does_harm_is_a_recovery(under_load):
    epoch = under_load.machine.service().epoch
    under_load.injector.carry_out(garble("epoch"))
    assert (under_load.injector.survived, under_load.injector.idle) == ({}, {})
    assert under_load.machine.service().epoch > epoch


def test_one_that_never_acts_has_met_nothing(under_load, monkeypatch):
    monkeypatch.setattr(injector, "BITE", 0.5)
    under_load.injector.carry_out(garble("twice", NEVER))
    assert (under_load.injector.survived, under_load.injector.idle) == ({}, {"garble": 1})
    assert under_load.machine.faults() == []


def whole(kind):
    """A fault that is at no failpoint."""
    return Injection(0, kind, 0.0, 0, "disk0")


def slow():
    return Injection(0, "slow", 0.0, 0, "disk0", "before-reply", by="1ms")


@pytest.mark.parametrize(("nth", "bite"), [(1, 3600.0), (NEVER, 0.5)], ids=["survived", "idle"])
def test_who_did_not_die_of_a_fault_in_time_dies_of_something_else_later(
    under_load, monkeypatch, nth, bite
):
    monkeypatch.setattr(injector, "BITE", bite)
    service = under_load.machine.service()
    under_load.injector.carry_out(garble("twice", nth))
    under_load.injector.carry_out(slow())  # at once: what was lost may yet show
    assert under_load.injector.aimed == {(service.name, service.epoch): "garble"}
    monkeypatch.setattr(injector, "NOTICE", 0.0)
    under_load.injector.carry_out(garble("twice", nth))
    assert under_load.injector.aimed == {(service.name, service.epoch): "garble"}
    under_load.injector.carry_out(slow())
    assert under_load.injector.aimed == {}


def test_who_gets_another_fault_meanwhile_may_die_of_that_at_any_time(under_load, monkeypatch):
    monkeypatch.setattr(injector, "BITE", 0.1)
    monkeypatch.setattr(injector, "NOTICE", 0.5)
    hasty = injector.Injector(replace(PLAN, every=60.0), under_load.machine)
    service = under_load.machine.service()
    hasty.carry_out(Injection(0, "zombie", 0.0, 0, "disk0", "mid-batch", nth=NEVER))
    over = time.monotonic() + injector.NOTICE
    hasty.carry_out(garble("twice", NEVER))
    while time.monotonic() < over:
        hasty.carry_out(slow())
    hasty.carry_out(slow())
    assert hasty.idle == {"zombie": 1}
    assert hasty.aimed == {(service.name, service.epoch): "garble"}


def test_an_upgrade_that_fails_undisturbed_is_a_failure(under_load, tmp_path):
    log = tmp_path / com1_log("storm0")
    log.unlink()
    log.mkdir()  # which no driver of a console can write to
    with pytest.raises(MachineFailure, match=r"^upgrade: service OS service0 is not upgraded: "):
        under_load.injector.carry_out(whole("upgrade"))
    assert under_load.injector.refused == []


def test_an_upgrade_that_fails_beside_a_fault_is_refused(under_load, tmp_path):
    log = tmp_path / com1_log("storm0")
    log.unlink()
    log.mkdir()
    service = under_load.machine.service()
    under_load.injector.aimed[service.name, service.epoch] = "hang"
    under_load.injector.carry_out(whole("upgrade"))
    (refused,) = under_load.injector.refused
    assert refused.startswith("upgrade: service OS service0 is not upgraded: ")
    assert (under_load.injector.drawn, under_load.injector.done) == ({"upgrade": 1}, {})


def test_a_standby_that_is_not_there_is_not_killed(under_load, monkeypatch):
    """As in the moment between the death of one and the start of the next."""
    status = under_load.machine.service()
    status.standby.Clear()
    monkeypatch.setattr(under_load.machine, "service", lambda _: status)
    under_load.injector.carry_out(whole("kill-standby"))
    assert (under_load.injector.done, under_load.injector.aimed) == ({}, {})
    (refused,) = under_load.injector.refused
    assert refused == "kill-standby: service OS service0 has no standby at this moment"


def test_half_of_a_fault_counts(under_load, monkeypatch):
    """The one that serves dies by itself before it can be killed."""
    fault = under_load.machine.fault
    service = under_load.machine.service()

    def refuse(action, *, standby=False, **more):
        if not standby:
            raise MachineFailure("is dead already")
        return fault(action, standby=standby, **more)

    monkeypatch.setattr(under_load.machine, "fault", refuse)
    under_load.injector.carry_out(whole("kill-both"))
    assert (under_load.injector.done, under_load.injector.refused) == ({"kill-both": 1}, [])
    ((name, epoch),) = under_load.injector.aimed
    assert (name, epoch) == (service.name, service.epoch + 1)


def test_a_fault_whose_time_is_after_the_end_of_a_round_comes_at_its_end():
    plan = replace(PLAN, every=3600.0)
    now = time.monotonic()
    injector.pause(None, plan, whole("kill"), began=now, until=now)
    assert time.monotonic() < now + plan.every / 2
