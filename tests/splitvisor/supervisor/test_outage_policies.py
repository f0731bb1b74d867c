"""Which device's turn it is in an outage."""

from pathlib import Path

from splitvisor.machine import Device, Guest, Model, OutagePolicy, WhenOut
from splitvisor.supervisor.outage_policies import Act, OutagePolicies

S = 1_000_000_000


def disk(name, action, after_s=0, service="io"):
    policy = OutagePolicy(action, after_s * S)
    return Device(name, Model.BLOCK, "memory:size=1M", service, outage=policy)


GUESTS = (
    Guest(
        "web",
        Path("x"),
        devices=(
            disk("disk0", WhenOut.HOLD),
            disk("disk1", WhenOut.ERROR, 2),
            disk("disk2", WhenOut.PAUSE, 1),
            disk("disk3", WhenOut.ERROR, 1, service="other"),
        ),
    ),
)


def test_each_is_done_once_when_its_time_has_come():
    policies = OutagePolicies("io", GUESTS)
    assert policies.next_due(10 * S) == 11 * S
    assert policies.due(10 * S, 11 * S - 1) == []
    assert policies.due(10 * S, 11 * S) == [Act(WhenOut.PAUSE, "web", "web/disk2", S)]
    assert policies.next_due(10 * S) == 12 * S
    assert policies.due(10 * S, 20 * S) == [Act(WhenOut.ERROR, "web", "web/disk1", 2 * S)]
    assert policies.due(10 * S, 30 * S) == []
    assert policies.next_due(10 * S) is None


def test_at_the_end_what_was_paused_goes_on_and_all_is_as_before():
    policies = OutagePolicies("io", GUESTS)
    policies.due(0, 20 * S)
    assert policies.over() == ["web"]
    assert policies.over() == []
    assert len(policies.due(0, 20 * S)) == 2


def test_what_was_given_to_an_incarnation_in_vain_fails_again():
    policies = OutagePolicies("io", GUESTS)
    policies.due(0, 20 * S)
    policies.given()
    assert policies.due(0, 20 * S) == [Act(WhenOut.ERROR, "web", "web/disk1", 2 * S)]
    assert policies.over() == ["web"]


def test_hold_is_nothing_to_do():
    policies = OutagePolicies("io", [Guest("web", Path("x"), devices=(disk("d", WhenOut.HOLD),))])
    assert policies.next_due(0) is None
    assert policies.due(0, 100 * S) == []
