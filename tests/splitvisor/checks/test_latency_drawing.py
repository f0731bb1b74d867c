"""What stands in the picture; what it looks like was judged by eye."""

import xml.etree.ElementTree as ET

import pytest

from splitvisor.checks.latency_drawing import draw

SVG = "{http://www.w3.org/2000/svg}"


def elements(times, kind, title="<outages>"):
    return list(ET.fromstring(draw(times, title)).iter(SVG + kind))


def test_bars_are_as_high_as_their_counts():
    bars = [
        e for e in elements([5000] * 40 + [7000] * 10 + [20_000], "rect") if e.get("class") == "bar"
    ]
    heights = [float(bar.get("height")) for bar in bars]
    assert heights == pytest.approx([178, 44.5, 0, 0, 4.45], abs=0.06)
    places = [float(bar.get("x")) for bar in bars]
    assert places == sorted(places)
    assert places[0] == 64


def test_the_median_and_the_99th_percentile_are_marked():
    texts = [e.text for e in elements(range(1000, 2000), "text")]
    assert {"p50", "p99", "<outages>"} <= set(texts)
    assert "1000 times, p50 1.5 ms, p99 1.99 ms, max 2 ms" in texts
    marks = [e for e in elements(range(1000, 2000), "path") if e.get("class") == "mark"]
    assert len(marks) == 2


def test_there_are_few_enough_labels_to_read_and_none_without_times():
    labels = [e.text for e in elements([2, 90_000_000], "text") if e.get("text-anchor") == "middle"]
    assert 5 <= len(labels) <= 12
    empty = [e.text for e in elements([], "text")]
    assert "none" in empty
    assert "p50" not in empty
