"""The policy that docs/scheduling/README.md shows, installed and simulated as it says."""

import json
import re
from pathlib import Path

from splitvisor.cli.main import main
from splitvisor.simulate import registry

README = Path("docs/scheduling/README.md")

SCENARIO = """
policy = "priority"
duration = "100ms"
[vcpus.low]
weight = 1
[vcpus.high]
weight = 2
run = "1ms"
every = "10ms"
[vcpus.alike]
weight = 1
"""


def block(name):
    """What the README says is in the file `name`."""
    return re.search(rf"```\w+\n# {name}\n(.*?)```", README.read_text(), re.DOTALL)[1]


def install(folder, monkeypatch):
    (folder / "priority.py").write_text(block("priority/priority.py"))
    info = folder / "priority-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: priority\nVersion: 1\n")
    group = block("priority/pyproject.toml").split('"splitvisor.policies"]')[1].replace('"', "")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]{group}")
    monkeypatch.syspath_prepend(folder)


def test_the_policy_of_the_readme_does_what_it_says(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch)
    scenario = tmp_path / "x.toml"
    scenario.write_text(SCENARIO)
    assert main(["simulate-schedule", str(scenario), "--json"]) == 0
    found = {v["name"]: v for v in json.loads(capsys.readouterr().out)["vcpus"]}
    assert found["high"]["longest_wake_ns"] == 0
    assert found["high"]["run_ns"] == 10_000_000
    assert abs(found["low"]["run_ns"] - found["alike"]["run_ns"]) <= 10_000_000


def test_the_session_of_the_readme_is_what_is_printed(capsys):
    command, wanted = re.search(
        r"\$ splitvisor (.*?)\n(.*?)```", README.read_text(), re.DOTALL
    ).groups()
    assert main(command.split()) == 0
    assert capsys.readouterr().out == wanted


def test_the_picture_of_the_readme_is_what_is_drawn(tmp_path):
    command = re.search(r"`splitvisor (simulate-schedule \S+) --svg \S+ (.*?)`", README.read_text())
    drawn = tmp_path / "weights.svg"
    assert main([*command[1].split(), *command[2].split(), "--svg", str(drawn)]) == 0
    assert drawn.read_text() == (README.parent / "weights.svg").read_text()
