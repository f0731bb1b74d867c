"""Whatever a guest does, another one's memory and disk are as they were, and the core goes on.

One machine for each CPU runs once: a sentinel, whose memory is larger than that of its neighbours,
and the hostile guests, all at the same time. Each mode of theirs is a test of its own here, so
that a failure names it.
"""

import re

import pytest

from tests.end_to_end.conftest import Splitvisor, needs_kvm
from tests.end_to_end.isolation import HOSTILE, Evidence, examine

GROWTH = 48 << 20  # bytes that the core may need for guests, threads and logs of requests
pytestmark = pytest.mark.timeout(400)  # the first test of each CPU runs the machine

MODES = [(name, mode) for name, (*_, modes) in HOSTILE.items() for mode in modes]


@pytest.fixture(
    scope="module", params=["emulated", pytest.param("kvm", marks=[pytest.mark.kvm, needs_kvm])]
)
def seen(request, tmp_path_factory) -> Evidence:
    folder = tmp_path_factory.mktemp("isolation")
    splitvisor = Splitvisor(folder / "r")
    evidence = examine(splitvisor, folder, request.param)
    assert splitvisor.processes() == []
    return evidence


def crc_of(line):
    return int(re.search(r"hash=(\w{8})", line)[1], 16)


def test_the_sentinels_memory_is_what_it_was(seen):
    assert len(seen.checks) == 2
    for line in seen.checks:
        assert line.startswith("sentinel: PASS"), line
        assert crc_of(line) == crc_of(seen.ready)


def test_and_is_so_from_outside(seen):
    if isinstance(seen.outside, str):
        pytest.skip(seen.outside)
    assert seen.outside == crc_of(seen.ready)


def test_its_disk_worked_all_the_time(seen):
    first, last = (int(re.search(r"blocks=(\d+)", line)[1]) for line in seen.checks)
    assert last > first


@pytest.mark.parametrize(("name", "mode"), MODES, ids=[f"{name}-{mode}" for name, mode in MODES])
def test_a_hostile_mode_ends_as_it_should(seen, name, mode):
    image, *_ = HOSTILE[name]
    assert f"{image}: {mode}: ok" in seen.consoles[name], seen.consoles[name][-500:]


@pytest.mark.parametrize("name", ["memory", "chains", "rings", "race"])
def test_a_guest_that_only_harmed_itself_ends_by_itself(seen, name):
    guest = seen.guest(name)
    assert (guest["end_reason"], guest["exit_status"]) == ("exit", 0), seen.consoles[name][-500:]
    assert "FAIL" not in seen.consoles[name]


@pytest.mark.parametrize("name", ["rules", "fault"])
def test_a_guest_that_cannot_go_on_is_ended_with_a_report(seen, name):
    assert seen.guest(name)["state"] == "ended"
    if seen.guest(name)["end_reason"] == "exit":  # its own handler took the exception
        assert "exception" in seen.consoles[name]
    else:
        assert f"splitvisor: guest {name} ended by" in seen.errors
        assert "rip" in seen.errors


def test_every_refused_queue_was_told_of(seen):
    for name in ("chains", "rings", "race"):
        assert f"guest {name}, device disk0: waits for a reset: queue 0" in seen.errors


def test_writes_to_rom_are_counted(seen):
    (writes,) = re.findall(r"rom: (\d+) writes", seen.consoles["memory"])
    assert int(seen.guest("memory")["rom_writes_refused"]) >= int(writes)


def test_the_core_answers_and_has_not_grown(seen):
    assert seen.guest("sentinel")["state"] == "running"
    assert seen.after["core_pid"] == seen.before["core_pid"]
    before, after = seen.anonymous
    assert after - before < GROWTH


def test_no_service_os_died(seen):
    assert all((s["epoch"], s["deaths"]) == (1, 0) for s in seen.after["services"])


def test_nothing_went_wrong_inside(seen):
    assert seen.status == 0
    assert "Traceback" not in seen.errors + seen.logs
    assert "panic" not in seen.errors + seen.logs
