"""The demo from the outside: its exit status, its JSON, and the image it leaves."""

import json

from splitvisor.demo.scene import SEED
from splitvisor.demo.stamps import check_image


def test_the_demo_passes_with_a_kill_in_the_middle(splitvisor, tmp_path, cpu):
    size, passes = ("16M", 1) if cpu == "emulated" else ("32M", 2)
    image = tmp_path / "kept.img"
    status, output, errors = splitvisor(
        *("demo", "--cpu", cpu, "--size", size, "--passes", passes, "--disk", image, "--json")
    )
    assert status == 0, errors
    summary = json.loads(output)
    assert summary["pass"] is True
    assert summary["guest_said"].startswith("blockcheck: PASS")
    assert summary["killed_pid"] != summary["replaced_by_pid"] != 0
    assert summary["outage_ms"] > 0
    assert summary["lines_returned"] == summary["lines_sent"] > 0
    assert summary["image_blocks_wrong"] == 0
    assert f"SIGKILL to the service OS, pid {summary['killed_pid']}" in errors
    assert check_image(image, SEED, passes).agrees


def test_an_interrupt_leaves_nothing_and_no_image(splitvisor, tmp_path, monkeypatch, interrupted):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with splitvisor.start("demo", "--json") as process:
        process.until("guest blockcheck: started")
        status, output, _ = interrupted(process)
    assert (status, output) == (130, "")
    assert list(tmp_path.glob("splitvisor-demo-*")) == []
