"""Help texts, and mistakes as one line with status 2."""

import os

import pytest

from splitvisor.cli import main as cli_main
from splitvisor.cli.fault_words import KINDS
from splitvisor.cli.main import main
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.run_directory import claim

COMMANDS = [
    *([], ["run"], ["up"], ["ps"], ["stop"], ["service"]),
    *(["service", "status"], ["service", "kill"], ["demo"], ["balloon"], ["events"]),
    *(["sched"], ["sched", "status"], ["sched", "set"], ["sched", "policy"]),
    *(["service", "upgrade"], ["service", "release"], ["fault"], ["fault", "ls"]),
    *(["fault", word] for word in [*KINDS, "clear"]),
    *(["overlay", verb] for verb in ["info", "commit", "discard", "rebase"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_examples(command, capsys):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["Usage: splitvisor", *command]))
    if command not in (["service"], ["sched"]):
        assert "Example" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rn"], ("'rn'", "'run'")),
        (["run"], ("IMAGE", "See 'splitvisor run --help'")),
        (["run", "a.elf", "b.elf"], ("'b.elf'", "write -- before")),
        (["run", "a.elf", "b.elf", "--", "c"], ("'b.elf'", "write -- before")),
        (["run", "--dsk", "x"], ("--dsk", "--disk")),
        (["run", "x", "--vcpus", "many"], ("--vcpus", "many")),
        (["run", "x", "--cpu", "fast"], ("--cpu", "fast", "emulated")),
        (["run", "x", "--memory", "64Q"], ("64Q", "64M")),
        (["run", "x", "--memory", "9" * 16], ("too large",)),
        (["run", "x", "--name", "A B"], ("A B",)),
        (["run", "x", "--name", ""], ("name ''",)),
        (["run", "x", "--outage", "eror"], ("'eror'", "'error'")),
        (["run", "x", "--outage", ""], ("''", "error after 2s")),
        (["run", ""], ("IMAGE", "empty")),
        (["--run-root", "", "ps"], ("--run-root", "empty")),
        (["stop", "lab/"], ("'lab/'", "slash")),
        (["service", "kill", "/"], ("'/'", "slash")),
        (["up"], ("MACHINE.toml",)),
        (["demo", "--size", "1000"], ("1000", "4K")),
        (["demo", "--passes", "0"], ("--passes",)),
        (["stop", "nobody"], ("splitvisor up",)),
        (["service", "kill"], ("splitvisor up",)),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_status_2(arguments, words, capsys, tmp_path):
    assert main(["--run-root", str(tmp_path), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("splitvisor: ")
    for word in words:
        assert word in line


def test_without_a_command_there_is_help_on_standard_error(capsys):
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_machine_that_fails_has_a_status_of_its_own(monkeypatch, capsys):
    def fail(*_, **__):
        raise MachineError("the core\ndied")

    monkeypatch.setattr(cli_main.cli, "main", fail)
    assert main(["ps"]) == 126
    assert capsys.readouterr().err == "splitvisor: the core died\n"


def test_a_file_the_system_refuses_is_one_line_with_a_cure(monkeypatch, capsys):
    def fail(*_, **__):
        os.stat("/proc/nothing")

    monkeypatch.setattr(cli_main.cli, "main", fail)
    assert main(["ps"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("splitvisor: /proc/nothing: No such file or directory: see that")


def test_an_error_of_the_system_that_names_nothing_is_a_bug(monkeypatch):
    def fail(*_, **__):
        os.close(-1)

    monkeypatch.setattr(cli_main.cli, "main", fail)
    with pytest.raises(OSError, match="descriptor"):
        main(["ps"])


def test_nothing_runs_on_a_fresh_run_root(capsys, tmp_path):
    assert main(["--run-root", str(tmp_path / "new"), "ps"]) == 0
    assert capsys.readouterr().out == "no machine runs\n"
    assert main(["--run-root", str(tmp_path / "new"), "ps", "--json"]) == 0
    assert capsys.readouterr().out.split() == ["{", '"machines":', "[]", "}"]
    assert not (tmp_path / "new").exists()


def test_ps_says_of_a_machine_that_starts_that_it_does(capsys, tmp_path):
    with claim(tmp_path, "lab", ("service",)):
        assert main(["--run-root", str(tmp_path), "ps"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"splitvisor: machine lab (pid {os.getpid()}) is starting")
