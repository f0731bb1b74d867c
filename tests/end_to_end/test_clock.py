"""Clocks under guests that read them as Linux does, while their service OS dies."""

import datetime
import re
import shutil
import subprocess
import time

import pytest

LINE = re.compile(r"rtc: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) day (\d)")
READING = re.compile(r"clock: (\d+)(?: rtc (\d+))?\n")
SECOND = 1_000_000_000


def moments(text):
    """What the guest has read so far, and the days of the week."""
    return [
        (datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.UTC), int(found[2]))
        for found in LINE.finditer(text)
    ]


def test_a_guest_reads_the_hosts_time_and_goes_on_after_a_death(splitvisor, guest, cpu, tmp_path):
    log = tmp_path / "log"
    words = ("--cpu", cpu, "--console", f"log:path={log}", "--serial", "null", "-v")
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with splitvisor.start(
        "run", guest("rtc"), *words, "--clock", "system", "--", "reads=1000000"
    ) as process:
        process.until("stands by")
        lines = wait_for(log, 1)
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        wait_for(log, lines + 10)
        process.signal(2)
        assert process.end()[0] == 130
    text = log.read_text()
    found = moments(text)
    assert "FAIL" not in text
    assert len(found) == text.count("\n")
    assert before <= found[0][0] <= found[-1][0] <= datetime.datetime.now(datetime.UTC)
    assert all(day == moment.isoweekday() % 7 + 1 for moment, day in found)


def test_a_clock_that_was_set_stays_set_and_ticks_on(splitvisor, guest, cpu, tmp_path):
    log = tmp_path / "log"
    words = ("--cpu", cpu, "--console", f"log:path={log}", "--serial", "null", "-v")
    clock = ("--clock", "skewed:by=-3600s,rate=20")
    with splitvisor.start(
        "run", guest("rtc"), *words, *clock, "--", "reads=1000000", "set=1"
    ) as process:
        process.until("stands by")
        lines = wait_for(log, 1)
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        wait_for(log, lines + 10)
        while len({moment for moment, _ in moments(log.read_text())}) < 2:
            lines = wait_for(log, lines + 1)
        process.signal(2)
        assert process.end()[0] == 130
    text = log.read_text()
    assert "FAIL" not in text
    set_to = datetime.datetime(1999, 12, 31, 23, 59, 50, tzinfo=datetime.UTC)
    first, last = moments(text)[0][0], moments(text)[-1][0]
    assert set_to <= first < last < set_to + datetime.timedelta(hours=1)


def wait_for(log, lines):
    """Wait until the guest has printed so many lines; how many there are."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = log.read_text().count("\n") if log.exists() else 0
        if found >= lines:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{found} lines in {log}, not {lines}")


def readings(text):
    """Nanoseconds that the guest has read so far."""
    return [int(found[1]) for found in READING.finditer(text)]


def test_a_clock_behind_virtio_agrees_with_the_pcs_also_after_a_death(
    splitvisor, guest, cpu, tmp_path
):
    log = tmp_path / "log"
    words = ("--cpu", cpu, "--console", f"log:path={log}", "--serial", "null", "-v")
    clocks = ("--clock", "system", "--virtio-clock", "system", "--", "reads=1000000")
    before = time.time_ns()
    with splitvisor.start("run", guest("clock"), *words, *clocks) as process:
        process.until("stands by")
        lines = wait_for(log, 2)
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        wait_for(log, lines + 10)
        process.signal(2)
        assert process.end()[0] == 130
    text = log.read_text()
    found = readings(text)
    assert text.startswith("clock: clocks 1 type 4 cross 0\n")
    assert "FAIL" not in text
    assert len(found) == text.count("\n") - 1
    assert before - 1000 <= found[0]  # a float has the time to half a microsecond
    assert found == sorted(found)
    assert found[-1] <= time.time_ns()


def test_a_skewed_clock_behind_virtio_runs_on_at_its_rate_after_a_death(
    splitvisor, guest, cpu, tmp_path
):
    log = tmp_path / "log"
    words = ("--cpu", cpu, "--console", f"log:path={log}", "--serial", "null", "-v")
    clock = ("--virtio-clock", "skewed:by=-3600s,rate=20", "--", "reads=1000000")
    before = time.time_ns()
    with splitvisor.start("run", guest("clock"), *words, *clock) as process:
        process.until("stands by")
        lines = wait_for(log, 2)
        while readings(log.read_text())[-1] < before - 3590 * SECOND:
            lines = wait_for(log, lines + 1)
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        wait_for(log, lines + 10)
        process.signal(2)
        assert process.end()[0] == 130
    text = log.read_text()
    assert "FAIL" not in text
    ran = time.time_ns() - before
    found = readings(text)
    assert before - 3600 * SECOND - 1000 <= found[0]
    assert found == sorted(found)
    assert found[-1] <= before - 3600 * SECOND + 20 * ran


def test_a_clock_behind_virtio_answers_what_is_no_request_as_specified(splitvisor, guest, cpu):
    words = ("--cpu", cpu, "--virtio-clock", "frozen:at=2030-01-01", "--", "hostile=1")
    status, output, errors = splitvisor("run", guest("clock"), *words)
    reading = "clock: 1893456000000000000\n"
    assert (status, output) == (
        0,
        f"clock: clocks 1 type 4 cross 0\nclock: 29 oddities\n{reading}{reading}",
    )
    assert "device clock0: waits for a reset" in errors


def test_a_clock_behind_virtio_goes_to_another_driver_while_it_is_read(splitvisor, guest, tmp_path):
    log = tmp_path / "log"
    words = ("--cpu", "emulated", "--console", f"log:path={log}", "--serial", "null", "-v")
    clock = ("--virtio-clock", "system", "--", "reads=1000000")
    with splitvisor.start("run", guest("clock"), *words, *clock) as process:
        process.until("stands by")
        wait_for(log, 2)
        frozen = "frozen:at=2130-01-01T00:00:00"
        assert splitvisor("driver", "swap", "clock/clock0", frozen)[0] == 0
        wait_for(log, log.read_text().count("\n") + 10)
        process.signal(2)
        assert process.end()[0] == 130
    assert "FAIL" not in log.read_text()
    assert readings(log.read_text())[-5:] == [5_049_129_600 * SECOND] * 5


def test_a_guest_has_no_clock_unless_it_is_given_one(splitvisor, guest):
    status, output, _ = splitvisor("run", guest("rtc"), "--cpu", "emulated")
    assert (status, output) == (1, "rtc: FAIL no clock\n")
    status, output, _ = splitvisor("run", guest("clock"), "--cpu", "emulated", "--clock", "system")
    assert (status, output) == (1, "clock: FAIL no clock\n")


@pytest.mark.parametrize(
    ("clock", "problem"),
    [
        ("sundial", "no clock driver 'sundial' (known: frozen, skewed, system)"),
        ("frozen:at=noon", "'noon' is no time such as 2030-01-01T00:00:00"),
    ],
)
def test_what_is_no_clock_is_said_in_one_line(splitvisor, guest, clock, problem):
    status, output, errors = splitvisor("run", guest("rtc"), "--clock", clock)
    assert (status, output) == (2, "")
    assert problem in errors
    assert errors.count("\n") == 1


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
@pytest.mark.parametrize("arguments", ["reads=1", "reads=1 set=1"])
def test_the_same_guest_reads_the_same_from_qemus_clock(splitvisor, guest, arguments):
    at = "2031-02-03T04:05:06"
    qemu = [
        *("qemu-system-x86_64", "-M", "microvm,acpi=off,rtc=on", "-accel", "tcg", "-m", "64"),
        *("-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-rtc", f"base={at}"),
        *("-global", "virtio-mmio.force-legacy=false", "-serial", "stdio"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-kernel", str(guest("rtc")), "-append", arguments),
    ]
    theirs = subprocess.run(qemu, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    words = ("--cpu", "emulated", "--clock", f"frozen:at={at}", "--", *arguments.split())
    status, output, _ = splitvisor("run", guest("rtc"), *words)
    assert (status, theirs.returncode) == (0, 1)
    assert output == theirs.stdout.decode()
