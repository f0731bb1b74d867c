"""`splitvisor chaos` as a command."""

import re
import shutil
from pathlib import Path

from splitvisor.chaos import campaign


def test_a_judge_that_fails_is_told_like_all_that_is_wrong(splitvisor, monkeypatch):
    def judge(_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(campaign, "judge", judge)
    words = ("--for", "1.5s", "--size", "4M", "--seed", "6", "--faults", "kill")
    status, output, _ = splitvisor("chaos", *words)
    assert status == 1
    assert "\nFAIL\nZeroDivisionError: division by zero\n" in output
    assert "\nagain: splitvisor chaos --seed=6 --for=1500ms " in output
    (kept,) = map(Path, re.findall(r"kept in (\S+)", output))
    assert {"storm0.img", "storm0.log", "events.txt"} <= {path.name for path in kept.iterdir()}
    shutil.rmtree(kept.parent)


def test_faults_that_come_less_often_than_once_a_round_are_refused(splitvisor):
    words = ("--every", "61s", "--for", "1.5s")
    complaint = "splitvisor: --every 61s: give 0.01s to 60s\n"
    assert splitvisor("chaos", *words) == (2, "", complaint)


def test_help_says_what_is_accepted(splitvisor):
    status, output, _ = splitvisor("chaos", "--help")
    told = " ".join(output.split())
    assert status == 0
    assert "How long, as 30s, 10m or 2h; 1.5s to 24h." in told
    assert "Of each guest's disk, a multiple of 4K; 1M to 1G." in told


def test_a_goal_of_zombies_wants_faults_of_the_kind(splitvisor):
    words = ("--zombies", "5", "--faults", "kill")
    complaint = "splitvisor: --zombies counts trials of the kind zombie: add it to --faults\n"
    assert splitvisor("chaos", *words) == (2, "", complaint)
