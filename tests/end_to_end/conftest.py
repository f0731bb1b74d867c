"""Real machines for the tests, and the proof after each test that nothing of them is left."""

import os
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "build" / "guests"
SPLITVISOR = Path(sys.executable).parent / "splitvisor"
PATIENCE = 60  # seconds for anything that a loaded machine has to do

needs_kvm = pytest.mark.skipif(
    not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="/dev/kvm cannot be used"
)


@pytest.fixture(params=["emulated", pytest.param("kvm", marks=[pytest.mark.kvm, needs_kvm])])
def cpu(request):
    """The CPU back end of a test; its id says which."""
    return request.param


class Process:
    """A splitvisor that runs; its standard error is read line by line."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.errors = ""

    def until(self, words):
        """Read standard error until a line with these words; the line."""
        deadline = time.monotonic() + PATIENCE
        done = 0
        while True:
            *lines, _ = self.errors.split("\n")
            for line in lines[done:]:
                if words in line:
                    return line
            done = len(lines)
            left = deadline - time.monotonic()
            if not select.select([self.process.stderr], [], [], max(left, 0))[0]:
                raise AssertionError(f"no {words!r} in:\n{self.errors}")
            data = os.read(self.process.stderr.fileno(), 65536)
            if not data:
                raise AssertionError(f"ended without {words!r}:\n{self.errors}")
            self.errors += data.decode()

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Wait for the end: exit status, standard output, standard error."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output.decode(), self.errors + errors.decode()


class Splitvisor:
    """The command with a run root of its own."""

    def __init__(self, run_root):
        self.run_root = run_root
        self.wrapper = []  # a command that runs it

    def command(self, *arguments):
        return [
            *self.wrapper,
            str(SPLITVISOR),
            "--run-root",
            str(self.run_root),
            *map(str, arguments),
        ]

    def __call__(self, *arguments, stdin=b""):
        """Run to the end: exit status, standard output, standard error."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    @contextmanager
    def start(self, *arguments):
        """Run beside the test; killed if the test ends before it."""
        process = subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                yield Process(process)
            finally:
                if process.poll() is None:
                    process.kill()

    def processes(self):
        """Pids of all processes that name the run root on their command line, but ourselves."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.run_root) in command:
                    found.append(int(entry.name))
        return found

    def wait_until_gone(self):
        """Wait until no process of this run root is left; for the orphans of a killed one."""
        for pid in self.processes():
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            gone = select.select([fd], [], [], PATIENCE)[0]
            os.close(fd)
            assert gone, f"pid {pid} is still there"


@pytest.fixture
def splitvisor(tmp_path):
    """The command; afterwards there is no process, socket or folder of it."""
    command = Splitvisor(tmp_path / "r")
    yield command
    assert command.processes() == []
    left = sorted(command.run_root.iterdir()) if command.run_root.exists() else []
    assert left == []


# What makes root obey file permissions like everybody else.
OBEY = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.geteuid() == 0
    else []
)


@pytest.fixture
def guest():
    """The path of one of the project's guests."""

    def path(name):
        return GUESTS / name

    return path


@pytest.fixture
def disk(tmp_path):
    """An empty disk image of some MiB."""

    def make(mib, name="disk.img"):
        path = tmp_path / name
        with path.open("wb") as image:
            image.truncate(mib << 20)
        return path

    return make


@pytest.fixture
def tiny(tmp_path):
    """A PVH ELF file out of a few bytes of 32-bit machine code."""

    def make(code):
        base, entry = 0x100000, 0x100080
        note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", entry)
        offset = 64 + 2 * 56
        body = note.ljust(0x80, b"\0") + code
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        header = ident + struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 64, 0, 0
        )
        load = struct.pack("<IIQQQQQQ", 1, 7, offset, base, base, len(body), len(body), 8)
        notes = struct.pack("<IIQQQQQQ", 4, 4, offset, base, base, len(note), len(note), 4)
        path = tmp_path / "tiny"
        path.write_bytes(header + load + notes + body)
        return path

    return make


@pytest.fixture
def interrupted():
    """How a Process ends by a signal."""

    def end(process, number=signal.SIGINT):
        process.signal(number)
        return process.end()

    return end
