"""What becomes of rounds and their files."""

import shlex

import pytest

from splitvisor.chaos import campaign, report
from splitvisor.chaos.campaign import Campaign
from splitvisor.chaos.plan import Plan

PLAN = Plan(seed=6, seconds=600, kinds=("kill",), size=4 << 20, depth=8)
ROUND = 1.5  # seconds


@pytest.fixture
def short(monkeypatch):
    """Rounds are."""
    monkeypatch.setattr(campaign, "ROUND", ROUND)


def ends_in(number, seen):
    """Ctrl-C in a round, counted from 1; `seen` gets the names in the folder by rounds."""

    def progress(folder):
        def tick(tally, _):
            seen[tally.rounds] = sorted(path.name for path in folder.iterdir())
            if tally.rounds == number:
                raise KeyboardInterrupt

        return tick

    return progress


@pytest.mark.parametrize("keep", [False, True])
def test_files_of_good_rounds_go_unless_they_are_kept(short, tmp_path, keep):
    seen = {}
    tally = Campaign(PLAN, tmp_path, ends_in(2, seen)(tmp_path), keep).run()
    assert (tally.problems, tally.rounds) == ([], 2)
    all_rounds = ["round-1", "round-2"]  # as they are called while they go on
    assert seen == {1: ["round-1"], 2: all_rounds if keep else ["round-2"]}
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == (all_rounds if keep else [])


def test_a_judge_that_fails_is_a_problem_and_the_files_stay(short, tmp_path, monkeypatch):
    def judge(_):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(campaign, "judge", judge)
    tally = Campaign(PLAN, tmp_path, lambda *_: None).run()
    assert tally.problems == ["ZeroDivisionError: division by zero"]
    kept = {path.name for path in (tmp_path / "round-1").iterdir()}
    assert {"storm0.img", "storm0.log", "events.txt"} <= kept
    failed, _, again = report.verdict(PLAN, tally)
    assert (failed, shlex.split(again)[:4]) == (
        "FAIL",
        ["again:", "splitvisor", "chaos", "--seed=6"],
    )


def test_what_was_wrong_before_a_judge_failed_is_told_as_well(short, tmp_path, monkeypatch):
    def judge(_):
        raise ZeroDivisionError

    def no_injection(*_):
        raise IndexError("no fault")

    monkeypatch.setattr(campaign, "judge", judge)
    monkeypatch.setattr(campaign.Round, "_inject", no_injection)
    tally = Campaign(PLAN, tmp_path, lambda *_: None).run()
    assert tally.problems == ["IndexError: no fault", "ZeroDivisionError:"]
