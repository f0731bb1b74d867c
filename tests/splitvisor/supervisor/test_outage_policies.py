"""Which device's turn it is in an outage."""

from pathlib import Path

from splitvisor.machine import Device, Guest, Model, OutagePolicy, WhenOut
from splitvisor.supervisor.outage_policies import Act, OutagePolicies

S = 1_000_000_000
PAUSED = Act(WhenOut.PAUSE, "web", "web/disk2", S)
FAILED = Act(WhenOut.ERROR, "web", "web/disk1", 2 * S)


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


def all_since(moment):
    """Nobody serves any of them."""
    return lambda _: moment


def served(_):
    return 0


def test_each_is_done_once_when_its_time_has_come():
    policies, since = OutagePolicies("io", GUESTS), all_since(10 * S)
    assert policies.next_due(since) == 11 * S
    assert policies.due(since, 11 * S - 1) == []
    assert policies.due(since, 11 * S) == [PAUSED]
    assert policies.next_due(since) == 12 * S
    assert policies.due(since, 20 * S) == [FAILED]
    assert policies.due(since, 30 * S) == []
    assert policies.next_due(since) is None


def test_at_the_end_what_was_paused_goes_on_and_all_is_as_before():
    policies, since = OutagePolicies("io", GUESTS), all_since(S)
    policies.due(since, 20 * S)
    assert policies.over(since) == []
    assert policies.over(served) == ["web"]
    assert policies.over(served) == []
    assert len(policies.due(since, 20 * S)) == 2


def test_what_was_given_to_an_incarnation_in_vain_fails_again():
    policies, since = OutagePolicies("io", GUESTS), all_since(S)
    policies.due(since, 20 * S)
    policies.given()
    assert policies.due(since, 20 * S) == [FAILED]
    assert policies.over(served) == ["web"]


def test_each_device_has_an_outage_of_its_own():
    policies, out = OutagePolicies("io", GUESTS), {"web/disk1": 10 * S}
    since = lambda device: out.get(device, 0)  # noqa: E731
    assert policies.next_due(since) == 12 * S
    assert policies.due(since, 12 * S) == [FAILED]
    out["web/disk2"] = 13 * S
    assert policies.due(since, 14 * S) == [PAUSED]
    del out["web/disk1"]
    assert policies.over(since) == []
    out["web/disk1"] = 20 * S
    assert policies.due(since, 22 * S) == [FAILED]  # again
    del out["web/disk2"]
    assert policies.over(since) == ["web"]


def test_a_guest_is_paused_until_all_of_its_devices_are_served():
    devices = (disk("a", WhenOut.PAUSE), disk("b", WhenOut.PAUSE))
    policies = OutagePolicies("io", [Guest("web", Path("x"), devices=devices)])
    assert len(policies.due(all_since(S), S)) == 2
    assert policies.over(lambda device: S if device == "web/b" else 0) == []
    assert policies.over(served) == ["web"]


def test_hold_is_nothing_to_do():
    policies = OutagePolicies("io", [Guest("web", Path("x"), devices=(disk("d", WhenOut.HOLD),))])
    assert policies.next_due(all_since(S)) is None
    assert policies.due(all_since(S), 100 * S) == []
