"""The command as users meet it."""

import json
import xml.etree.ElementTree as ET

import pytest

from splitvisor.cli.main import main

WEIGHTS = "docs/scheduling/weights.toml"
SVG = "{http://www.w3.org/2000/svg}"


def run(capsys, *arguments):
    assert main(["simulate-schedule", *arguments]) == 0
    return capsys.readouterr().out


def test_help_has_examples_of_the_command_and_of_a_scenario(capsys):
    text = run(capsys, "--help")
    for word in ("Usage: splitvisor simulate-schedule", "--policy round_robin", "[vcpus.io]"):
        assert word in text


def test_the_table_says_what_each_vcpu_got(capsys):
    lines = run(capsys, "docs/scheduling/deadline.toml").splitlines()
    (control,) = [line.split() for line in lines if line.startswith("control")]
    assert control[1:3] == ["30.00", "%"]
    assert control[-2:] == ["100", "0"]  # deadlines
    assert lines[-1] == "pCPU 0: busy 100.00 %, 207 switches"


def test_another_policy_shows_the_difference(capsys):
    out = run(capsys, "docs/scheduling/deadline.toml", "--policy", "round_robin")
    (control,) = [line.split() for line in out.splitlines() if line.startswith("control")]
    assert int(control[-1]) > 90


def test_the_trace_has_every_run_of_the_window(capsys):
    out = run(capsys, WEIGHTS, "--trace", "--from", "900ms", "--to", "920ms")
    trace = out[: out.index("\n\n")].splitlines()
    assert [line.split()[-3:] for line in trace] == [
        ["eight", "gives", "way"],
        ["four", "gives", "way"],
        ["eight", "gives", "way"],
    ]
    assert trace[1].split()[:2] == ["902.500", "ms"]


def test_json_has_everything_and_adds_up(capsys):
    found = json.loads(run(capsys, WEIGHTS, "--json"))
    assert found["policy"] == "credit"
    assert sum(vcpu["run_ns"] for vcpu in found["vcpus"]) == found["duration_ns"]
    for vcpu in found["vcpus"]:
        assert vcpu["run_ns"] + vcpu["wait_ns"] == vcpu["alive_ns"]
        runs = [i for i in found["intervals"] if i["vcpu"] == vcpu["name"] and i["pcpu"] == 0]
        assert sum(i["end"] - i["start"] for i in runs) == vcpu["run_ns"]
        assert len(runs) == vcpu["switches"]


def test_the_same_scenario_always_gives_the_same(capsys):
    first = run(capsys, "docs/scheduling/wakeup.toml", "--json")
    assert run(capsys, "docs/scheduling/wakeup.toml", "--json") == first


def test_the_picture_shows_the_window(capsys, tmp_path):
    path = tmp_path / "x.svg"
    run(capsys, WEIGHTS, "--svg", str(path), "--from", "900ms", "--to", "1100ms")
    root = ET.parse(path).getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for text in ("pCPU 0", "one", "eight", "900 ms", "1100 ms", "one: weight 800"):
        assert text in texts
    assert path.stat().st_size < 20_000


def test_the_picture_is_of_the_beginning_unless_the_user_says_otherwise(capsys, tmp_path):
    path = tmp_path / "x.svg"
    run(capsys, WEIGHTS, "--svg", str(path))
    assert [e.text for e in ET.parse(path).getroot().iter(f"{SVG}text")].count("300 ms") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("SCENARIO.toml", "See 'splitvisor simulate-schedule --help'")),
        (("none.toml",), ("none.toml does not exist",)),
        ((WEIGHTS, "--policy", "credt"), ("'credt'", "did you mean 'credit'?", "round_robin")),
        ((WEIGHTS, "--from", "10"), ("'10' is not a duration", "10ms")),
        ((WEIGHTS, "--from", "3s"), ("window is empty",)),
        ((WEIGHTS, "--from", "20ms", "--to", "10ms"), ("window is empty",)),
        ((WEIGHTS, "--svg", "/nonexistent/x.svg"), ("/nonexistent/x.svg",)),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, words, capsys):
    assert main(["simulate-schedule", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line
