"""Long seeded runs of the production's recovery find nothing, and repeat to the last step."""

import pytest

from tests.simulation import Violation, run
from tests.simulation.world import STEPS

SEED = 1
STEPS_IN_TESTS = 200_000


def test_no_promise_is_broken():
    report = run(SEED, STEPS_IN_TESTS)
    print(f"seeds {SEED} to {SEED + report.worlds - 1}: {report.counts}")
    assert report.steps >= STEPS_IN_TESTS
    for name, least in {
        "completions": 10_000, "kills": 800, "launches": 800, "replayed": 2_000,
        "landed": 100, "stops": 150, "severed": 50, "suspicions": 100, "resets": 400,
        "upgrades": 500, "lies": 300, "refused": 500, "poisoned": 10, "pardons": 40,
    }.items():  # fmt: skip
        assert report.counts[name] >= least, f"only {report.counts[name]} {name}"


def test_the_same_seed_is_the_same_run():
    first, second, other = run(5, 6_000), run(5, 6_000), run(50, 6_000)
    assert first.counts == second.counts != other.counts
    assert first.worlds == 2


def test_weights_are_those_of_steps():
    assert "kills" not in run(3, 3_000, kill=0).counts
    with pytest.raises(ValueError, match="no step explode"):
        run(3, 1, explode=1)
    assert "explode" not in STEPS


def test_a_violation_says_how_to_see_it_again(monkeypatch):
    monkeypatch.setattr("microhypervisor.inflight.InflightLog.find", lambda *_: None)
    with pytest.raises(Violation) as first:
        run(SEED, 30_000)
    found = first.value
    assert found.transcript
    with pytest.raises(Violation) as again:
        run(found.seed, found.steps)
    assert str(again.value) == str(found)
    assert (again.value.step, again.value.transcript) == (found.step, found.transcript)
