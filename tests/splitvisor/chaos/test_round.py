"""What a round finds wrong with a real machine."""

import time
from functools import partial

import pytest

from splitvisor.chaos import round as rounds
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.round import Round
from splitvisor.checks.clock import cycles_per_second
from splitvisor.machine import ServiceSettings
from splitvisor.testing.events import Event
from splitvisor.testing.testbed import Testbed

PLAN = Plan(seed=3, seconds=600, kinds=("slow",), size=4 << 20, depth=8, disk=Disk.POWERCUT)


def test_a_guest_that_hangs_is_found_before_the_power_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "ServiceSettings", partial(ServiceSettings, watchdog=False))
    monkeypatch.setattr(rounds, "GOES_ON", 1.0)
    with Testbed(tmp_path) as bed:
        this = Round(PLAN, bed, PLAN.seed, 1.5, cycles_per_second())
        this.machine.fault("hang", device="disk0")
        this.machine.wait_until(
            "the fault to act", lambda: any(one.acted for one in this.machine.faults()) or None, 60
        )
        this.run(lambda _: None)
        this.conclude()
    assert this.problems == ["1 requests of storm0/disk0: not within 1 s on machine chaos"]


@pytest.mark.parametrize("ago", [60.0, 0.0])
def test_only_an_outage_that_lasts_is_found_before_the_power_is_cut(tmp_path, ago):
    """Of another service OS, which has no disk that would show it."""
    with Testbed(tmp_path) as bed:
        this = Round(PLAN, bed, PLAN.seed, 1.5, cycles_per_second())
        this.machine.story.add(Event("detected", time.monotonic() - ago, "other", epoch=9))
        this.injector.aimed["other", 9] = "kill"
        this.run(lambda _: None)
        this.conclude()
    found = ["an outage without an end: detected other epoch 9"]
    assert this.problems == (found if ago else [])
