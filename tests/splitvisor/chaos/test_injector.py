"""What comes of faults at a real machine under load."""

import pytest

from splitvisor.chaos import injector
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.round import Round
from splitvisor.chaos.schedule import Injection
from splitvisor.checks.clock import cycles_per_second
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
