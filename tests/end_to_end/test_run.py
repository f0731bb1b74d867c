"""`splitvisor run` with real guests on both CPUs: what they say, how they end, what is left."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest

from splitvisor.demo.stamps import check_image
from tests.end_to_end.conftest import ROOT

# 32-bit machine code for guests of a few bytes.
RESET = bytes.fromhex("b0fe e664 f4")  # mov al, 0xfe; out 0x64, al; hlt
POWER_OFF = bytes.fromhex("66ba0406 b034 ee f4")  # mov dx, 0x604; mov al, 0x34; out dx, al; hlt
EXIT_300 = bytes.fromhex("b82c010000 e7f4 f4")  # mov eax, 300; out 0xf4, eax; hlt
UNDEFINED = bytes.fromhex("0f0b")  # ud2, without an IDT


def test_hello_says_what_it_found_and_nothing_else_is_on_standard_output(splitvisor, guest, cpu):
    status, output, errors = splitvisor("run", guest("hello"), "--cpu", cpu, "--memory", "32M")
    assert (status, errors) == (0, "")
    assert all(line.startswith("hello: ") for line in output.splitlines())
    assert "hello: 32 MiB of memory" in output
    assert re.search(r"hello: entropy [0-9a-f]{64}\n", output)


def test_the_guests_status_is_the_exit_status(splitvisor, guest, cpu):
    assert splitvisor("run", guest("hello"), "--cpu", cpu, "--", "exit=7")[0] == 7


def test_two_cpus_are_seen(splitvisor, guest, cpu):
    status, output, _ = splitvisor("run", guest("hello"), "--cpu", cpu, "--vcpus", "2")
    assert status == 0
    assert "hello: 2 CPUs" in output


def test_what_is_typed_comes_back(splitvisor, guest, cpu):
    words = b"to and fro\n" * 100
    status, output, _ = splitvisor("run", guest("echo"), "--cpu", cpu, stdin=words + b"\x04")
    assert status == 0
    assert output == f"echo: ready\n{words.decode()}echo: {len(words)} bytes\n"


@pytest.mark.parametrize("payload", [[], ["--inline"]], ids=["window", "inline"])
def test_a_disk_holds_what_the_guest_wrote(splitvisor, guest, disk, cpu, payload):
    image = disk(2)
    status, output, _ = splitvisor(
        *("run", guest("blockcheck"), "--cpu", cpu, "--disk", f"file:path={image}", *payload),
        *("--", "depth=16", "passes=2", "seed=5"),
    )
    assert status == 0
    assert "blockcheck: PASS 512 blocks, 2 passes" in output
    verdict = check_image(image, 5, 2)
    assert verdict.agrees, verdict.problems


def test_consoles_can_go_to_files(splitvisor, guest, tmp_path, cpu):
    log = tmp_path / "console.log"
    status, output, _ = splitvisor(
        "run", guest("hello"), "--cpu", cpu, "--console", f"log:path={log}"
    )
    assert (status, output) == (0, "")
    assert "hello: exit 0" in log.read_text()


def test_a_fault_ends_with_a_report_and_a_status_of_its_own(splitvisor, tiny, cpu):
    status, output, errors = splitvisor("run", tiny(UNDEFINED), "--cpu", cpu)
    assert (status, output) == (125, "")
    assert errors.startswith("splitvisor: guest tiny ended by ")
    assert "rip" in errors.lower()
    assert "Traceback" not in errors


def test_statuses_beyond_a_byte_are_the_largest(splitvisor, tiny, cpu):
    assert splitvisor("run", tiny(EXIT_300), "--cpu", cpu)[0] == 255


def test_a_power_off_is_status_0(splitvisor, tiny, cpu):
    assert splitvisor("run", tiny(POWER_OFF), "--cpu", cpu) == (0, "", "")


def test_a_reset_may_end_the_guest(splitvisor, tiny, cpu):
    assert splitvisor("run", tiny(RESET), "--cpu", cpu, "--on-reset", "stop")[0] == 0


def test_a_reset_starts_the_guest_anew(splitvisor, tiny, cpu, interrupted):
    with splitvisor.start("run", "-v", tiny(RESET), "--cpu", cpu) as process:
        for _ in range(3):
            process.until("guest tiny: restarted after a reset")
            process.errors = process.errors.partition("restarted after a reset\n")[2]
        assert interrupted(process)[0] == 130


def test_the_same_image_may_run_twice_at_once(splitvisor, guest, interrupted):
    with (
        splitvisor.start("run", "-v", guest("echo"), "--console", "log:path=/dev/null") as first,
        splitvisor.start("run", "-v", guest("echo"), "--console", "log:path=/dev/null") as second,
    ):
        first.until("guest echo: started")
        second.until("guest echo: started")
        assert interrupted(first)[0] == interrupted(second)[0] == 130


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_signals_end_everything(splitvisor, guest, disk, interrupted, number, status):
    arguments = ("--disk", f"file:path={disk(16)}", "--", "passes=1000")
    with splitvisor.start("run", "-v", guest("blockcheck"), *arguments) as process:
        process.until("guest blockcheck: started")
        assert interrupted(process, number)[0] == status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["click", "trio"])
def test_a_signal_while_modules_are_imported_is_quiet(
    splitvisor, guest, tmp_path, monkeypatch, module, number, status
):
    """A module of the test's sends it in the middle of the imports."""
    (tmp_path / f"{module}.py").write_text(f"import os; os.kill(os.getpid(), {number:d})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert splitvisor("run", guest("hello")) == (status, "", "")


@pytest.mark.parametrize("talks", [True, False], ids=["it talks", "it is silent"])
def test_a_reader_that_goes_ends_the_guest_quietly(splitvisor, guest, talks):
    process = subprocess.Popen(
        splitvisor.command("run", guest("echo")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"echo: ready\n"
        process.stdout.close()
        if talks:
            process.stdin.write(b"is anybody there?\n")
            process.stdin.flush()
        assert (process.wait(timeout=60), process.stderr.read()) == (141, b"")


def test_a_device_that_waits_for_a_reset_is_told_of_without_being_asked(splitvisor, guest, cpu):
    status, _, errors = splitvisor(
        *("run", guest("misbehave"), "--cpu", cpu, "--disk", "memory:size=1M"),
        *("--", "mode=desc-loop"),
    )
    assert status == 0
    (line,) = errors.splitlines()
    assert line.startswith("splitvisor: guest misbehave, device disk0: waits for a reset: queue")


@pytest.fixture
def service_os(tmp_path, monkeypatch):
    """Run these lines in every service OS before its own."""

    def begin(lines):
        package = tmp_path / "service_os"
        package.mkdir()
        (package / "__init__.py").write_text(f"{lines}\n__path__ = [{str(ROOT / package.name)!r}]")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return begin


def test_a_service_os_that_is_killed_before_it_serves_is_replaced(
    splitvisor, guest, tmp_path, service_os
):
    service_os(
        "import os, pathlib\n"
        f"mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "if not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)"
    )
    status, output, errors = splitvisor("run", "-v", guest("hello"))
    assert status == 0
    assert "hello: exit 0" in output
    assert "(epoch 1) died by signal 9 (SIGKILL)" in errors


def test_one_that_is_killed_every_time_ends_the_machine(splitvisor, guest, service_os):
    service_os("import os; os.kill(os.getpid(), 9)")
    status, _, errors = splitvisor("run", guest("hello"))
    assert status == 2
    assert errors == "splitvisor: service OS service could not start (signal 9 (SIGKILL))\n"


def test_what_a_service_os_says_on_standard_error_reaches_the_user(splitvisor, guest, service_os):
    service_os("import sys; print('a word', file=sys.stderr)")
    status, _, errors = splitvisor("run", guest("hello"))
    assert (status, errors) == (0, "splitvisor: service OS service: a word\n")


def test_a_second_interrupt_leaves_nothing_behind_either(splitvisor, guest, disk):
    arguments = ("--disk", f"file:path={disk(16)}", "--", "passes=1000")
    with splitvisor.start("run", "-v", guest("blockcheck"), *arguments) as process:
        process.until("guest blockcheck: started")
        process.signal(signal.SIGINT)
        process.signal(signal.SIGINT)
        assert process.end()[0] == 130


def test_an_interrupt_while_it_starts_leaves_nothing_behind(splitvisor, guest):
    with splitvisor.start("run", "-v", guest("hello")) as process:
        process.until("(epoch 1) is ready")
        process.signal(signal.SIGINT)
        assert process.end()[0] in (0, 130)  # hello may be faster


@pytest.mark.parametrize("plain", [True, False], ids=["usual", "all options"])
def test_how_a_service_os_is_kept_alive_is_said_on_the_command_line(splitvisor, guest, plain):
    options = () if plain else ("--no-standby", "--no-watchdog", "--failpoints")
    consoles = ("--console", "log:path=/dev/null", "--serial", "log:path=/dev/null")
    with splitvisor.start("run", "-v", guest("echo"), *consoles, *options) as process:
        process.until("guest echo: started")
        (service,) = json.loads(splitvisor("service", "status", "--json")[1])["services"]
        found = (service["standby"] is not None, service["watchdog"], service["failpoints"])
        assert found == ((True, "on", False) if plain else (False, "off", True))
        assert splitvisor("stop")[0] == 0
        assert process.end()[0] == 143


def test_killing_the_launcher_takes_everything_along_and_the_next_cleans_up(splitvisor, guest):
    arguments = ("run", "-v", guest("echo"), "--console", "log:path=/dev/null", "--name", "web")
    with splitvisor.start(*arguments) as process:
        process.until("guest web: started")
        process.signal(signal.SIGKILL)
        process.end()
    splitvisor.wait_until_gone()
    assert (splitvisor.run_root / "web").exists()
    assert splitvisor("run", guest("hello"))[0] == 0


TALKER = """
from drivers.block_null import NullBlock
class Talker(NullBlock):
    def read(self, offset, into):
        print("spoken at", offset)
        super().read(offset, into)
"""


def test_what_a_driver_prints_is_no_guests_output(splitvisor, guest, tmp_path, monkeypatch):
    (tmp_path / "talker.py").write_text(TALKER)
    (tmp_path / "talker-1.dist-info").mkdir()
    points = tmp_path / "talker-1.dist-info" / "entry_points.txt"
    points.write_text("[splitvisor.drivers]\nblock.talker = talker:Talker\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    status, output, errors = splitvisor(
        "run", "-v", guest("blockcheck"), "--disk", "talker:size=1M", "--", "passes=1"
    )
    assert status == 1  # the disk forgets
    assert "blockcheck: FAIL" in output
    assert "spoken" not in output
    assert "service: spoken at " in errors


def test_a_terminal_is_in_cbreak_mode_while_the_guest_runs_and_ctrl_c_ends_it(splitvisor, guest):
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    command = splitvisor.command("run", guest("echo"))
    process = subprocess.Popen(
        [sys.executable, "-c", take + "os.execv(sys.argv[1], sys.argv[1:])", *command],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    seen = read_until(master, b"echo: ready\r\n")
    assert not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)
    os.write(master, b"k")
    assert seen + read_until(master, b"k") == b"echo: ready\r\nk"  # once: by the guest
    os.write(master, b"\x03")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    os.close(master)


def read_until(fd, end):
    seen = b""
    while not seen.endswith(end):
        seen += os.read(fd, 1)
    return seen
