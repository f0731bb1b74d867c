"""Several machines of one test: their names, their logs, and what is left of them."""

import os
import tempfile

import pytest

from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.testbed import Testbed

NOBODY = (1 << 22) + 1  # beyond all pids of Linux
HELLO = "hello: a bare-metal guest"


def test_a_name_that_a_machine_has_is_refused_while_it_runs(testbed):
    first = testbed.start("echo")
    with pytest.raises(MachineFailure) as refused:
        testbed.start("echo")
    another = "name this one differently, as in name='test2'"
    assert str(refused.value) == f"machine test runs already: {another}"
    assert (testbed.machines, first.status().name) == ([first], "test")


def test_a_machine_that_another_keeps_from_starting_has_not_started(testbed):
    first = testbed.start("echo")
    testbed.machines.remove(first)
    try:
        with pytest.raises(MachineFailure, match=r"before the machine to run: .* runs already"):
            testbed.start("echo")
    finally:
        first.end()


def test_a_name_is_free_after_the_end_and_each_machine_hears_its_own_guest(testbed, tmp_path):
    for status in (3, 4):
        machine = testbed.start("hello", arguments=f"exit={status}")
        verdict = machine.guest().wait()
        assert (verdict.status, verdict.output.count(HELLO)) == (status, 1)
        machine.end()
    assert (tmp_path / "hello.log").read_text().count(HELLO) == 2


def test_two_machines_have_logs_of_their_own(testbed, tmp_path):
    words = ("storm", ["memory:size=1M"], "seconds=3600 uart=1")
    one = testbed.start(*words, com1=True)
    two = testbed.start(*words, com1=True, name="b")
    for machine in (one, two):
        assert machine.guest("storm").says("storm: start")
    logs = {"storm.log", "storm.com1.log", "b.storm.log", "b.storm.com1.log"}
    assert {path.name for path in tmp_path.glob("*.log")} == logs
    assert (one.guest().console.name, two.guest().console.name) == ("storm.log", "b.storm.log")


def test_run_roots_of_processes_that_are_gone_go_when_they_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stay = [
        f"splitvisor-{os.getpid()}-ours",
        f"splitvisor-{NOBODY}",  # not of a testbed
        "splitvisor-chaos-x",
        f"splitvisor-{NOBODY}-used",
    ]
    for name in (*stay, f"splitvisor-{NOBODY}-gone"):
        (tmp_path / name).mkdir()
    (tmp_path / stay[-1] / "test").mkdir()
    Testbed(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == set(stay)
