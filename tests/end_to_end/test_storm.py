"""The guest storm and the judges on the host, with and without somebody who kills or lies.

Wrong drivers stand in a package of the test's own, next to the real ones that they are made of.
"""

import json
import os

import pytest

from splitvisor.checks.console import check_console, check_uart
from splitvisor.checks.image import check_image
from splitvisor.checks.storm import parse
from splitvisor.checks.workload import Kind

MIB = 8
OPERATIONS = {"kvm": 20_000, "emulated": 3_000}
WRONG = '''
import os
from drivers.block_file import FileBlock
from drivers.console_log import LogConsole
from drivers.interface import MediumError

EVERY = 400


class Counting(FileBlock):
    """Does one of EVERY requests of a kind wrong, of those that are a block long."""

    def __init__(self, options):
        super().__init__(options)
        self.count = 0

    def due(self, data):
        self.count += len(data) == 4096
        return len(data) == 4096 and self.count % EVERY == 0


class Lost(Counting):
    def write(self, offset, data):
        if not self.due(data):
            super().write(offset, data)


class Torn(Counting):
    def write(self, offset, data):
        super().write(offset, data[:512] if self.due(data) else data)


class Misplaced(Counting):
    def write(self, offset, data):
        super().write(offset ^ 4096 if self.due(data) else offset, data)


class Failing(Counting):
    def write(self, offset, data):
        if self.due(data):
            raise MediumError("as asked for")
        super().write(offset, data)


class Empty(Counting):
    def read(self, offset, into):
        if not self.due(into):
            super().read(offset, into)


class Stale(Counting):
    """Remembers what a write has overwritten, and gives it out once more."""

    def __init__(self, options):
        super().__init__(options)
        self.old = {}

    def write(self, offset, data):
        before = bytearray(4096)
        super().read(offset, before)
        self.old[offset] = before
        super().write(offset, data)

    def read(self, offset, into):
        super().read(offset, into)
        if self.due(into) and offset in self.old:
            into[:] = self.old[offset]


class Cached(FileBlock):
    """Keeps writes to itself, as no driver may, until there are many or somebody flushes."""

    def __init__(self, options):
        super().__init__(options)
        self.cache = {}

    def write(self, offset, data):
        for at in range(0, len(data), 4096):
            self.cache[offset + at] = bytes(data[at : at + 4096])
        if len(self.cache) > 2000:
            self.flush()

    def read(self, offset, into):
        super().read(offset, into)
        for at in range(0, len(into), 4096):
            into[at : at + 4096] = self.cache.get(offset + at, into[at : at + 4096])

    def flush(self):
        for offset, data in self.cache.items():
            super().write(offset, memoryview(data))
        self.cache.clear()


class Doubling(LogConsole):
    """Puts each tenth piece out twice."""

    doubled = count = 0

    def write(self, data, position):
        super().write(data, position + self.doubled)
        self.count += 1
        if self.count % 10 == 0:
            self.doubled += len(data)
            super().write(data, position + self.doubled)


class Repeating:
    from dataclasses import make_dataclass
    Options = make_dataclass("Options", [])

    def __init__(self, options):
        self.count = 0

    def fill(self, into):
        self.count += 1
        into[:] = os.urandom(len(into))
        into[:8] = (self.count % 5 + 1).to_bytes(8, "little")

    def close(self):
        pass
'''
ENTRIES = """[splitvisor.drivers]
block.lost = wrong:Lost
block.torn = wrong:Torn
block.misplaced = wrong:Misplaced
block.failing = wrong:Failing
block.empty = wrong:Empty
block.stale = wrong:Stale
block.cached = wrong:Cached
console.doubling = wrong:Doubling
entropy.repeating = wrong:Repeating
"""


@pytest.fixture
def wrong_drivers(tmp_path, monkeypatch):
    """Makes the wrong drivers known to all splitvisors of the test."""
    folder = tmp_path / "wrong"
    info = folder / "wrong-1.dist-info"
    info.mkdir(parents=True)
    (folder / "wrong.py").write_text(WRONG)
    (info / "entry_points.txt").write_text(ENTRIES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


def agree(log, said, image, uart=None):
    """All judges of a storm that has come to its end."""
    assert log.passed, log.verdict
    submitted = log.result["submitted"]
    console = check_console(said, log.workload)
    assert console.agrees, console.problems
    disk = check_image(image, log.workload, submitted, submitted, log.failed)
    assert disk.agrees, disk.problems
    if uart is not None:
        com1 = check_uart(uart.read_bytes(), log.workload, log.result["uart_lines"])
        assert com1.agrees, com1.problems


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


def machine_file(tmp_path, guest, cpu, disk, arguments):
    path = tmp_path / "lab.toml"
    path.write_text(f"""
        [guests.storm]
        image = "{guest("storm")}"
        arguments = "{arguments}"
        cpu = "{cpu}"
        console = "log:path=storm.log"
        com1 = "log:path=uart.log"
        disks = ["{disk}"]
    """)
    return path


def kill_until_the_end(splitvisor, process):
    """Kill the service OS again and again; how often it was."""
    deaths = 0
    while True:
        guests = json.loads(splitvisor("ps", "--json")[1])["machines"][0]["guests"]
        if guests[0]["state"] != "running":
            return deaths
        assert splitvisor("service", "kill")[0] == 0
        deaths += 1
        process.until(f"(epoch {deaths + 1}) has")


def test_killed_again_and_again_all_judges_agree(splitvisor, guest, disk, tmp_path, cpu):
    image = disk(MIB)
    arguments = f"ops={2 * OPERATIONS[cpu]} seconds=0 seed=4 uart=1 hz=1G"
    file = machine_file(tmp_path, guest, cpu, f"file:path={image}", arguments)
    with splitvisor.start("up", file) as process:
        process.until("guest storm: started")
        deaths = kill_until_the_end(splitvisor, process)
        assert splitvisor("stop")[0] == 0
        process.end()
    said = (tmp_path / "storm.log").read_bytes()
    log = parse(said.decode())
    agree(log, said, image, tmp_path / "uart.log")
    assert deaths > 0
    assert log.result["errors"] == 0
    assert len(log.gaps) == log.result["gaps"] >= 1


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("lost", ": expected writes "),
        ("torn", "found a wrong CRC"),
        ("misplaced", ": expected writes "),
        ("failing", "ended with status 1"),
        ("empty", "found zeros"),
        ("stale", ": expected writes "),
    ],
)
def test_the_guest_notices_a_disk_that_lies(splitvisor, guest, disk, wrong_drivers, driver, words):
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"{driver}:path={disk(1)}"),
        *("--", "ops=20000", "seconds=0"),
    )
    assert status == 1
    log = parse(output)
    assert log.verdict.startswith("FAIL LBA "), log.verdict
    assert words in log.verdict
    assert not check_console(output.encode(), log.workload).agrees


def test_errors_are_counted_where_they_may_happen(splitvisor, guest, disk, wrong_drivers):
    image = disk(1)
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"failing:path={image}"),
        *("--", "ops=5000", "seconds=0", "errors=1"),
    )
    assert status == 0, output
    log = parse(output)
    agree(log, output.encode(), image)
    assert len(log.failed) == log.result["errors"] > 3
    assert {log.workload.operation(n).kind for n in log.failed} == {Kind.WRITE}


def test_a_driver_that_keeps_writes_to_itself_is_caught_when_killed(
    splitvisor, guest, disk, tmp_path, wrong_drivers
):
    """And only then: while it lives nothing is wrong with it."""
    image = disk(MIB)
    alive = ("run", guest("storm"), "--disk", f"cached:path={image}", "--", "ops=5000", "flush=0")
    assert splitvisor(*alive)[0] == 0
    with image.open("r+b") as file:
        file.truncate(0)
        file.truncate(MIB << 20)
    arguments = "seconds=60 flush=0"
    file = machine_file(tmp_path, guest, "auto", f"cached:path={image}", arguments)
    with splitvisor.start("up", file) as process:
        process.until("guest storm: started")
        kill_until_the_end(splitvisor, process)
        assert splitvisor("stop")[0] == 0
        process.end()
    log = parse((tmp_path / "storm.log").read_text())
    assert log.verdict.startswith("FAIL LBA ")


def test_entropy_that_comes_again_is_noticed(splitvisor, guest, disk, wrong_drivers):
    status, output, _ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={disk(1)}", "--entropy", "repeating"),
        *("--", "ops=20000", "seconds=0", "entropy=100"),
    )
    assert status == 1
    assert parse(output).verdict.startswith("FAIL entropy read 6 brought 0x2 again")


def test_console_output_that_comes_twice_is_noticed(
    splitvisor, guest, disk, wrong_drivers, tmp_path
):
    path = tmp_path / "storm.log"
    status, *_ = splitvisor(
        *("run", guest("storm"), "--disk", f"file:path={disk(1)}"),
        *("--console", f"doubling:path={path}", "--", "ops=20000", "seconds=0"),
    )
    assert status == 0
    said = path.read_bytes()
    verdict = check_console(said, parse(said.decode()).workload)
    assert not verdict.agrees
    assert verdict.problems[0].startswith("byte ")


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
