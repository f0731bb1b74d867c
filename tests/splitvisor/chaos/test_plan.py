"""The command that does a campaign again."""

import shlex
from dataclasses import replace

import pytest

from splitvisor.chaos.plan import SEEDS, Disk, Plan
from splitvisor.cli import chaos
from splitvisor.machine import CpuChoice


@pytest.fixture
def planned(monkeypatch):
    """The plan that a command line comes to."""

    def meant(command):
        plans = []

        def campaign(plan, *_):
            plans.append(plan)
            raise KeyboardInterrupt

        monkeypatch.setattr(chaos, "Campaign", campaign)
        words = shlex.split(command)
        assert words[:2] == ["splitvisor", "chaos"]
        with pytest.raises(KeyboardInterrupt):
            chaos.chaos.callback(**chaos.chaos.make_context("chaos", words[2:]).params)
        return plans[0]

    return meant


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
def test_it_means_the_same(plan, planned):
    assert planned(plan.command(plan.seed, plan.seconds)) == plan


def test_any_round_of_any_campaign_can_be_had_alone(planned):
    """The last seed of all, and faults that are further apart than such a round is long."""
    plan = Plan(seed=SEEDS - 1, seconds=600, kinds=("kill",), every=60.0)
    seeds = [plan.round_seed(number) for number in range(3)]
    assert seeds == [SEEDS - 1, 0, 1]
    for seed in seeds:
        assert planned(plan.command(seed, 1.5)) == replace(plan, seed=seed, seconds=1.5)


def test_guests_are_divided_among_service_oses():
    plan = Plan(seed=1, seconds=1, kinds=("kill",), guests=3, services=2)
    assert plan.guest_names() == ["storm0", "storm1", "storm2"]
    assert [plan.server(i) for i in range(3)] == ["service0", "service1", "service0"]
