"""The demo from the outside: its exit status, its JSON, and the image it leaves."""

import json
from itertools import pairwise

import pytest

from splitvisor.demo.scene import SEED
from splitvisor.demo.stamps import check_image


def test_the_demo_passes_with_two_kills_and_a_stop(splitvisor, tmp_path, cpu):
    size, passes = ("16M", 1) if cpu == "emulated" else ("32M", 3)
    image = tmp_path / "kept.img"
    status, output, errors = splitvisor(
        *("demo", "--cpu", cpu, "--size", size, "--passes", passes, "--disk", image, "--json")
    )
    assert status == 0, errors
    summary = json.loads(output)
    assert summary["pass"] is True
    assert summary["guest_said"].startswith("blockcheck: PASS")
    assert summary["lines_returned"] == summary["lines_sent"] > 0
    assert summary["image_blocks_wrong"] == 0
    assert check_image(image, SEED, passes).agrees
    outages = summary["outages"]
    told = [outage for outage in outages if outage["replayed_of_disk"]]
    assert [outage["signal"] for outage in told] == ["SIGKILL", "SIGSTOP", "SIGKILL"]
    for before, after in pairwise(outages):
        assert before["replaced_by_pid"] == after["struck_pid"]
    for outage in outages:
        assert f"{outage['signal']} to the service OS, pid {outage['struck_pid']}" in errors
        assert outage["outage_ms"] == pytest.approx(sum(outage["steps_ms"].values()))
        assert all(milliseconds >= 0 for milliseconds in outage["steps_ms"].values())


def test_an_interrupt_leaves_nothing_and_no_image(splitvisor, tmp_path, monkeypatch, interrupted):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with splitvisor.start("demo", "--json") as process:
        process.until("guest blockcheck: started")
        status, output, _ = interrupted(process)
    assert (status, output) == (130, "")
    assert list(tmp_path.glob("splitvisor-demo-*")) == []
