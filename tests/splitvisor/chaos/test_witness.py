"""Who died for a fault, and who for nothing."""

from splitvisor.chaos.witness import hear
from splitvisor.supervisor.outage import Outage
from splitvisor.testing.events import Event

OUTAGE = Outage("died", detected=1_000_000, fenced=2_000_000, attached=4_000_000)
PAUSE = Outage("upgrade", detected=1_000_000, attached=2_000_000, planned=True)


def story(*parts):
    """Events of service OS `a`: pairs of a kind and an epoch."""
    outages = {"recovered": OUTAGE}
    return [Event(kind, 0.0, "a", epoch=epoch, outage=outages.get(kind)) for kind, epoch in parts]


DEATH = (("detected", 1), ("fenced", 1), ("promoted", 2), ("recovered", 2))


def test_an_outage_has_the_kind_of_its_fault():
    said = hear(story(*DEATH, ("suspected", 2), ("detected", 2), ("recovered", 4)), AIMED)
    assert said.outages == [("kill", OUTAGE), ("hang", OUTAGE)]
    assert (said.recoveries, said.false, said.begun) == (2, [], {})


AIMED = {("a", 1): "kill", ("a", 2): "hang"}


def test_a_failover_without_a_fault_is_false():
    for events, words in (
        (DEATH, "false failover: detected a epoch 1"),
        ((("standby-lost", 1),), "a standby was lost for nothing: standby-lost a epoch 1"),
        ((("start-failed", 1),), "a recovery failed for nothing: start-failed a epoch 1"),
    ):
        assert hear(story(*events), {("b", 1): "kill", ("a", 2): "kill"}).false == [words]
        assert hear(story(*events), {("a", 1): "kill"}).false == []


def test_an_outage_without_an_end_is_seen():
    said = hear(story(*DEATH, ("detected", 2)), AIMED)
    assert list(said.begun) == ["a"]
    assert said.recoveries == 1
    assert said.endless() == ["an outage without an end: detected a epoch 2"]
    begun = said.begun["a"].at
    assert (said.endless(begun), len(said.endless(begun + 1))) == ([], 1)


def test_upgrades_are_no_recoveries():
    events = [Event("recovered", 0.0, "a", epoch=2, outage=PAUSE)]
    said = hear(events, {})
    assert (said.outages, said.recoveries) == ([("upgrade", PAUSE)], 0)


def test_swaps_are_no_outages():
    said = hear([Event("driver-swapped", 0.0, "a", epoch=2, pause_ms=2.5)], {})
    assert (said.swaps, said.outages, said.false) == ([2.5], [], [])


def test_standbys_and_quarantine_are_told():
    events = [*story(("standby-lost", 2)), Event("quarantined", 0.0, "a", device="web/disk0")]
    said = hear(events, AIMED)
    assert said.standbys_lost == 1
    assert said.quarantined == ["quarantined: quarantined web/disk0 a"]
