"""The pytest plugin: its documentation as it is printed, and what a failure shows."""

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_readme import commands, pattern, squeezed

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "testing.md").read_text()
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tmp_path, cpu):
    """Pytest in a process of its own; exit status and output."""

    def call(words, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pytest",
                    "--splitvisor-cpu",
                    cpu,
                    "-p",
                    "no:cacheprovider",
                ),
                *("--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "t"), *words),
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout

    return call


def test_the_documentation_prints_the_files_that_are_there():
    printed = dict(FILE.findall(TEXT))
    assert printed == {path.name: path.read_text() for path in (DOCS / "testing").glob("*.py")}


def test_the_example_runs_as_printed(run):
    ((command, printed),) = commands(CONSOLE.findall(TEXT)[0])
    files = {name.removesuffix(".py"): text for name, text in FILE.findall(TEXT)}
    status, output = run(command.split()[1:], **files)
    assert status == 0, output
    assert re.fullmatch(pattern(printed), squeezed(output)), output


FAILING = """
def test_kill(testbed):
    machine = testbed.start("echo")
    machine.fault("kill")
    machine.wait_for("recovered")
    testbed.start("hello", name="other", arguments="exit=3")
    verdict = testbed.machines[1].guest().wait()
    assert verdict.passed, verdict
"""


def test_a_failure_shows_events_and_consoles(run):
    status, output = run(["-q"], test_failing=FAILING)
    assert status == 1
    assert "AssertionError: guest hello: exit, status 3: hello: exit 3" in output
    assert "splitvisor: events of machine test" in output
    assert re.search(r"^ +\d+\.\d{4} s +recovered service epoch 2 pid \d+", output, re.MULTILINE)
    assert "machine test runs: echo" in output
    assert "hello: a bare-metal guest of splitvisor" in output


TOO_LATE = """
import pytest
from splitvisor.testing.failure import MachineFailure

def test_a_guest_that_has_ended(testbed):
    (testbed.folder / "a.img").write_bytes(bytes(1 << 20))
    disks = ["file:path=a.img"]
    # The other guest goes on, and the machine with it.
    machine = testbed.start_all(
        "both",
        [
            Guest("short", guest_image("hello"), "exit=3", disks),
            Guest("long", guest_image("echo")),
        ],
        {"service": ServiceSettings(failpoints=True)},
    )
    machine.guest("short").wait()
    ended = "guest short has ended: exit, status 3: hello: exit 3"
    with pytest.raises(MachineFailure) as refused:
        machine.fault("kill", at="mid-batch", device="disk0")
    assert str(refused.value) == f"{ended}; its disk0 is not used"
    with pytest.raises(MachineFailure) as waited:
        machine.wait_for("recovered", seconds=0.01)
    assert str(waited.value) == f"{ended}; event recovered: not within 0.01 s on machine both"
"""


def test_a_guest_that_ended_too_early_is_named(run):
    imports = (
        "from splitvisor.machine import ServiceSettings\n"
        "from splitvisor.testing.description import Guest\n"
        "from splitvisor.testing.testbed import guest_image\n"
    )
    status, output = run(["-q"], test_too_late=imports + TOO_LATE)
    assert status == 0, output


BROKEN = """
def test_no_image(testbed):
    testbed.start("/nowhere")

def test_a_guest_that_goes_on(testbed):
    testbed.start("echo")
    raise KeyboardInterrupt
"""


def test_a_machine_that_does_not_start_fails_in_one_line_and_nothing_is_left(run, tmp_path):
    status, output = run(["-q"], test_broken=BROKEN)
    assert status == 2  # interrupted
    assert "before the machine to run: splitvisor: image /nowhere does not exist" in output
    assert "KeyboardInterrupt" in output
    machine = os.fsencode(tmp_path / "t")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert machine not in (entry / "cmdline").read_bytes()
            except OSError:
                continue


ENDLESS = """
import os, signal
def test_endless(testbed):
    machine = testbed.start("echo")
    with open("pid", "w") as file:
        file.write(str(machine.pid))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pytest_that_is_killed_leaves_no_machine(run, tmp_path):
    status, _ = run(["test_endless.py"], test_endless=ENDLESS)
    assert status == -signal.SIGKILL
    try:
        pidfd = os.pidfd_open(int((tmp_path / "pid").read_text()))
    except ProcessLookupError:
        return
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)
