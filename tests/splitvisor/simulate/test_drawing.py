"""What stands in the picture; what it looks like was judged by eye."""

import re
import xml.etree.ElementTree as ET

import pytest

from policies.parameters import VcpuParameters
from splitvisor.errors import UserError
from splitvisor.simulate.drawing import MAX_INTERVALS, draw
from splitvisor.simulate.engine import simulate
from splitvisor.simulate.scenario import Scenario, Vcpu

MS = 1_000_000
SVG = "{http://www.w3.org/2000/svg}"


def elements(scenario, kind, begin=0, end=None):
    root = ET.fromstring(draw(simulate(scenario, begin, end), scenario, "<title>"))
    return list(root.iter(SVG + kind))


def test_bars_stand_where_the_runs_are():
    scenario = Scenario("round_robin", (Vcpu("a"), Vcpu("b")), 40 * MS)
    bars = [e for e in elements(scenario, "rect") if e.get("fill") and e.get("height") == "32"]
    lane = [(float(e.get("x")), float(e.get("width")), e.get("fill")) for e in bars]
    quarter = (1000 - 120 - 36) / 4
    a, b = "#0072b2", "#e69f00"
    assert lane == [(120 + i * quarter, quarter, (a, b)[i % 2]) for i in range(4)]


def test_waits_wakes_and_misses_are_marked():
    vcpus = (Vcpu("s"), Vcpu("a", run=MS, every=5 * MS))
    marked = elements(Scenario("round_robin", vcpus, 40 * MS), "path")
    assert {e.get("class") for e in marked} == {"wake", "miss"}
    lines = elements(Scenario("round_robin", vcpus, 40 * MS), "line")
    assert "wait" in {e.get("class") for e in lines[:-1]}
    alone = elements(Scenario("round_robin", (Vcpu("s"),), 40 * MS), "path")
    assert alone == []


@pytest.mark.parametrize(
    ("end", "labels"),
    [
        (MS, ["0 us", "100 us"]),
        (35 * MS, ["0 ms", "5 ms"]),
        (10_000 * MS, ["0 s", "1 s"]),
    ],
)
def test_the_axis_has_round_numbers(end, labels):
    scenario = Scenario("round_robin", (Vcpu("a"),), end)
    texts = [e.text for e in elements(scenario, "text")]
    ticks = [text for text in texts if re.fullmatch(r"\d+ (us|ms|s)", text or "")]
    assert ticks[:2] == labels
    assert len(ticks) <= 13


def test_names_are_short_and_harmless():
    vcpus = (Vcpu("a-very-long-name-1"), Vcpu("a-very-long-name-2"), Vcpu("<&>"))
    texts = [e.text for e in elements(Scenario("round_robin", vcpus, 40 * MS), "text")]
    assert texts[0] == "<title>"
    assert {"a-very…-name-1", "a-very…-name-2", "<&>"} <= set(texts)


def test_the_ninth_vcpu_is_paler_than_the_first():
    vcpus = tuple(Vcpu(f"v{i}", VcpuParameters()) for i in range(9))
    rects = elements(Scenario("round_robin", vcpus, 100 * MS), "rect")
    assert {e.get("fill") for e in rects if e.get("fill-opacity")} == {"#0072b2"}


def test_too_much_for_a_picture_is_refused():
    vcpus = tuple(Vcpu(f"v{i}") for i in range(3))
    scenario = Scenario("round_robin", vcpus, MAX_INTERVALS * MS, slice_ns=2 * MS)
    with pytest.raises(UserError, match="shorter window with --from and --to"):
        draw(simulate(scenario), scenario, "x")
