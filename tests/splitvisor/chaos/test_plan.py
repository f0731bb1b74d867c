"""The command that does a campaign again."""

import shlex

import pytest

from splitvisor.chaos.plan import Disk, Plan
from splitvisor.cli import chaos
from splitvisor.machine import CpuChoice


@pytest.mark.parametrize(
    "plan",
    [
        Plan(seed=3, seconds=60, kinds=("kill",)),
        Plan(
            seed=9,
            seconds=2.5,
            kinds=("kill", "swap"),
            every=0.25,
            guests=4,
            depth=8,
            size=3 << 20,
            disk=Disk.POWERCUT,
            cpu=CpuChoice.EMULATED,
            services=2,
            standby=False,
        ),
    ],
    ids=["usual", "unusual"],
)
def test_it_means_the_same(plan, monkeypatch):
    planned = []

    def campaign(plan, *_):
        planned.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(chaos, "Campaign", campaign)
    words = shlex.split(plan.command(plan.seed, plan.seconds))
    assert words[:2] == ["splitvisor", "chaos"]
    with pytest.raises(KeyboardInterrupt):
        chaos.chaos.callback(**chaos.chaos.make_context("chaos", words[2:]).params)
    assert planned == [plan]


def test_guests_are_divided_among_service_oses():
    plan = Plan(seed=1, seconds=1, kinds=("kill",), guests=3, services=2)
    assert plan.guest_names() == ["storm0", "storm1", "storm2"]
    assert [plan.server(i) for i in range(3)] == ["service0", "service1", "service0"]
