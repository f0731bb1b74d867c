"""Campaigns against real machines: what was promised is kept, and what is not is found."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess

import pytest

from splitvisor.chaos.schedule import KINDS
from tests.end_to_end.conftest import SPLITVISOR

# Some seconds each, with a disk that is read back in a moment.
SHORT = ("--for", "4s", "--size", "4M", "--depth", "16")
SEED = 6  # whose first fault is a signal: it needs no request to meet it
SOAK = 80  # seconds


def chaos(*words, timeout=120):
    """A campaign; exit status, standard output, standard error."""
    done = subprocess.run(
        [SPLITVISOR, "chaos", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_all_is_well_and_the_report_says_what_was_done(cpu, tmp_path):
    picture = tmp_path / "gaps.svg"
    words = ("--cpu", cpu, "--seed", SEED, "--faults", "kill,stop,exit", "--svg", picture)
    status, output, errors = chaos(*SHORT, *words)
    assert status == 0, output + errors
    assert output.endswith("\nPASS\n")
    assert re.search(r"^faults +[1-9]", output, re.MULTILINE)
    assert re.search(r"^recoveries +[1-9]", output, re.MULTILINE)
    assert re.search(r"^verified +[1-9][\d,]* requests", output, re.MULTILINE)
    assert picture.read_text().startswith("<svg")


def test_guests_and_service_oses_share_nothing_that_breaks(cpu):
    words = ("--cpu", cpu, "--seed", SEED, "--faults", "kill,kill-both", "--json")
    status, output, errors = chaos(*SHORT, *words, "--guests", 2, "--services", 2)
    assert status == 0, output + errors
    told = json.loads(output)
    assert (told["pass"], told["problems"]) == (True, [])
    assert told["recoveries"] > 0


def test_drivers_and_service_oses_are_exchanged_between_deaths(cpu):
    words = ("--cpu", cpu, "--seed", SEED, "--faults", "swap,swap,kill,upgrade", "--json")
    status, output, errors = chaos(*SHORT, *words)
    assert status == 0, output + errors
    told = json.loads(output)
    assert (told["pass"], told["refused"]) == (True, [])
    assert told["swaps"]["count"] == told["faults"]["swap"] > 0


def test_what_was_flushed_survives_the_loss_of_power(cpu, tmp_path):
    words = ("--cpu", cpu, "--disk", "powercut", "--faults", "kill", "--json")
    status, output, errors = chaos(*SHORT, *words, "--keep", tmp_path / "kept")
    assert status == 0, output + errors
    told = json.loads(output)
    assert told["power_cuts"] == told["rounds"] > 0
    kept = tmp_path / "kept" / "round-1"
    assert {"storm0.img", "storm0.cut", "storm0.log", "events.txt"} <= set(os.listdir(kept))


LOSES = """
import sys

if "service_os" in sys.orig_argv:
    from drivers.block_file import FileBlock

    write, writes = FileBlock.write, []

    def lose(self, offset, data):
        writes.append(offset)
        if len(writes) % 100:
            write(self, offset, data)

    FileBlock.write = lose
"""


def test_a_disk_that_loses_writes_is_found_with_the_command_to_repeat_it(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(LOSES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    status, output, errors = chaos(*SHORT, "--seed", 9, "--faults", "slow")
    assert status == 1, output + errors
    assert "\nFAIL\n" in output
    assert "storm0: the guest says: FAIL LBA" in output
    again = next(line for line in output.splitlines() if line.startswith("again: "))
    assert shlex.split(again)[1:4] == ["splitvisor", "chaos", "--seed=9"]
    (kept,) = re.findall(r"kept in (\S+)", output)
    assert os.path.exists(os.path.join(kept, "storm0.img"))
    shutil.rmtree(os.path.dirname(kept))


def test_ctrl_c_ends_in_order_with_a_report(tmp_path):
    words = ("--for", "60s", "--size", "4M", "--faults", "kill", "--keep", tmp_path / "kept")
    with subprocess.Popen(
        [SPLITVISOR, "chaos", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as campaign:
        campaign.stderr.readline()  # it is under way
        campaign.send_signal(signal.SIGINT)
        output, errors = campaign.communicate(timeout=60)
    assert campaign.returncode == 130, output + errors
    assert re.search(r"^faults +[1-9]", output, re.MULTILINE)
    assert output.endswith("\nPASS\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--faults", "kil"), "no kind of fault 'kil', did you mean 'kill'?"),
        (
            ("--no-standby", "--faults", "kill,kill-standby"),
            "--faults kill-standby: with --no-standby there is no standby to kill",
        ),
        (("--no-standby", "--faults", "kill-both"), "--faults kill-both: with --no-standby there"),
        (("--recoveries", "x"), "'x' is not a valid whole number"),
        (("--for", "10"), "'10' is not a duration"),
        (("--for", "1s"), "--for 1s: give 1.5s to 24h"),
        (("--every", "1ms"), "--every 1ms: give 0.01s to 60s"),
        (("--every", "1h", "--for", "10s"), "--every 1h: give 0.01s to 60s"),
        (("--size", "5000"), "--size 5000: give a multiple of 4K"),
        (("--services", "2"), "--services 2: there are only 1 guests to serve"),
        (("--faults", "kill", "--zombies", "1"), "add it to --faults"),
        (("--svg", "/proc/x.svg"), "--svg /proc/x.svg cannot be written: No such file"),
    ],
)
def test_a_mistake_is_one_line(words, problem):
    status, output, errors = chaos(*words)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert problem in errors


@pytest.mark.kvm
@pytest.mark.timeout(2 * SOAK)
def test_a_soak_of_all_faults():
    """What `make soak` does for an hour."""
    status, output, errors = chaos("--for", f"{SOAK}s", "--seed", 11, "--json", timeout=2 * SOAK)
    print("seed 11")
    assert status == 0, output + errors
    told = json.loads(output)
    assert set(told["faults"]) == set(KINDS)
    assert told["zombies"] > 0
    assert told["zombies_alive"] == 0
