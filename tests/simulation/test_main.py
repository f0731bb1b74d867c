"""`python -m tests.simulation`, as a process."""

import subprocess
import sys
from pathlib import Path

from tests.simulation import __main__ as command

ROOT = Path(__file__).parents[2]


def test_it_says_what_was_done():
    words = [sys.executable, "-m", "tests.simulation", "--seed", "7", "--steps", "4000"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "steps in 2 worlds (seeds 7 to 8)" in done.stdout
    assert "nothing found" in done.stdout
    assert " completions" in done.stdout


def test_it_says_what_is_wrong_and_how_to_see_it_again(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["simulation", "--seed", "3", "--steps", "9000"])
    find = "microhypervisor.inflight.InflightLog.find"
    monkeypatch.setattr(find, lambda log, slot, _: log._entries.get(slot + 1))
    assert command.main() == 1
    said = capsys.readouterr().out
    assert "Violation: " in said
    assert "  python -m tests.simulation --seed " in said
    assert " begin\n" in said or " came back" in said
