"""The guest storm and the judges on the host, left alone and with somebody who kills."""

import pytest

from splitvisor.checks.storm import parse
from splitvisor.checks.workload import Kind
from tests.end_to_end.storms import agree

MIB = 8
OPERATIONS = {"kvm": 20_000, "emulated": 3_000}


def test_undisturbed_all_judges_agree(splitvisor, guest, disk, tmp_path, cpu):
    image, uart, operations = disk(MIB), tmp_path / "uart.log", OPERATIONS[cpu]
    status, output, errors = splitvisor(
        *("run", guest("storm"), "--cpu", cpu, "--disk", f"file:path={image}"),
        *("--serial", f"log:path={uart}", "--"),
        *(f"ops={operations}", "seconds=0", "seed=3", "uart=1", "hz=100M", "entropy=200"),
    )
    assert (status, errors) == (0, ""), output
    log = parse(output)
    agree(log, output.encode(), image, uart)
    result = log.result
    assert (result["submitted"], log.workload.seed) == (operations, 3)
    kinds = [log.workload.operation(n).kind for n in range(operations)]
    reading_back = log.workload.blocks // log.workload.span
    assert result["writes"] == kinds.count(Kind.WRITE)
    assert result["reads"] == kinds.count(Kind.READ) + reading_back
    assert result["flushes"] == kinds.count(Kind.FLUSH) + 1 == len(log.flushed)
    assert result["requests"] == operations + reading_back + 1
    assert log.durable == operations
    assert min(result["lines"], result["uart_lines"], result["entropy"]) > 1
    assert 0 < result["p50_us"] <= result["p99_us"] <= result["max_us"]


@pytest.mark.parametrize("more", ["check=stamps depth=1 span=1", "indirect=1 depth=200 flush=0"])
def test_other_ways_to_load(splitvisor, guest, disk, more):
    image = disk(1)
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={image}", "--", "ops=2000", *more.split())
    )
    assert status == 0, output
    agree(parse(output), output.encode(), image)


@pytest.fixture
def splitvisor_cpu(cpu):
    return cpu


def test_killed_again_and_again_all_judges_agree(testbed, disk, tmp_path, cpu):
    image = disk(MIB)
    arguments = f"ops={2 * OPERATIONS[cpu]} seconds=0 seed=4 uart=1 hz=1G"
    machine = testbed.start("storm", [f"file:path={image}"], arguments, com1=True)
    for _ in range(4):
        machine.wait_for_requests(OPERATIONS[cpu] // 4)
        machine.fault("kill")
        machine.wait_for("recovered")
    verdict = machine.guest().wait()
    log = verdict.storm
    agree(log, verdict.output.encode(), image, tmp_path / "storm.com1.log")
    assert len(machine.outages) == 4
    assert verdict.io_errors == 0
    assert len(log.gaps) == log.result["gaps"] >= 1


def test_it_ends_when_it_is_told_to(splitvisor, guest, disk, cpu):
    image = disk(1)
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--cpu", cpu, "--disk", f"file:path={image}"),
        *("--", "seconds=0", "listen=1"),
        stdin=b"not yet\x04",
    )
    assert status == 0
    agree(parse(output), output.encode(), image)


def test_a_disk_that_was_used_before_must_be_announced(splitvisor, guest, disk):
    image = disk(1)
    for words, passes in (("seed=1", True), ("seed=2", False), ("seed=2 fresh=0", True)):
        status, output, _ = splitvisor(
            *("run", guest("storm"), "--disk", f"file:path={image}"),
            *("--", "ops=2000", *words.split()),
        )
        assert parse(output).passed == (status == 0) == passes, output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("span=9", "span=9: 1 to 8"),
        ("check=some", "check=some: full or stamps"),
        ("blocks=1000", "blocks=1000: the disk has 256"),
        ("depth=86", "depth 86: the queue has room for 1 to 85 requests"),
        ("hz=5", "hz=5"),
    ],
)
def test_wrong_arguments_are_named(splitvisor, guest, disk, words, problem):
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={disk(1)}", "--", words)
    )
    assert status == 1
    assert f"storm: FAIL {problem}" in output
