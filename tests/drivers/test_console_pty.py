import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from drivers.interface import DriverError, Keep
from drivers.registry import make

PATIENCE = 60  # seconds; only a failing test waits so long


class Console:
    """A driver as the service OS uses it."""

    def __init__(self, tmp_path, begin=True):
        self.link = tmp_path / "tty"
        self.driver = make("console", f"pty:link={self.link}", Keep(tmp_path / "keep"))
        self.input = queue.Queue()
        if begin:
            self.driver.begin()

    def start(self):
        self.driver.start(self.input.put, 0)


@pytest.fixture
def console(tmp_path):
    console = Console(tmp_path)
    yield console
    console.driver.close()


class Terminal:
    """Who sits there."""

    def __init__(self, link):
        self.fd = os.open(link, os.O_RDWR | os.O_NOCTTY)

    def read(self, count):
        data = b""
        while len(data) < count:
            assert select.select([self.fd], [], [], PATIENCE)[0], data
            data += os.read(self.fd, count - len(data))
        return data

    def write(self, data):
        os.write(self.fd, data)

    def close(self):
        os.close(self.fd)


def test_bytes_pass_as_they_are_both_ways(console):
    console.start()
    terminal = Terminal(console.link)
    console.driver.write(b"login:\n\x03\x04\xff", 0)
    assert terminal.read(10) == b"login:\n\x03\x04\xff"
    terminal.write(b"root\r\x03")
    got = b""
    while len(got) < 6:
        got += console.input.get(timeout=PATIENCE)
    assert got == b"root\r\x03"  # and nothing of the output has come back as input
    terminal.close()


def test_output_for_nobody_is_dropped_and_clients_come_again(console):
    console.start()
    console.driver.write(b"unseen" * 100_000, 0)
    for word in (b"one", b"two"):
        terminal = Terminal(console.link)
        console.driver.write(word, 0)
        assert terminal.read(3) == word
        terminal.write(word)
        assert console.input.get(timeout=PATIENCE) == word
        terminal.close()
        console.driver.write(b"unseen" * 100_000, 0)


def test_who_has_it_open_and_does_not_read_holds_the_guest_up_until_he_leaves(console):
    terminal = Terminal(console.link)
    thread = threading.Thread(target=console.driver.write, args=(b"z" * (1 << 20), 0))
    thread.start()
    assert terminal.read(1000) == b"z" * 1000
    terminal.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_whoever_stands_by_keeps_the_terminal_alive(tmp_path):
    active = Console(tmp_path)
    standby = Console(tmp_path, begin=False)
    device = os.readlink(active.link)
    terminal = Terminal(active.link)
    active.start()
    terminal.write(b"a")
    assert active.input.get(timeout=PATIENCE) == b"a"
    active.driver.close()
    terminal.write(b"b")  # waits in the terminal
    standby.driver.begin()
    standby.start()
    assert os.readlink(standby.link) == device
    assert standby.input.get(timeout=PATIENCE) == b"b"
    standby.driver.write(b"c", 0)
    assert terminal.read(1) == b"c"
    terminal.close()
    standby.driver.close()
    assert not os.path.lexists(tmp_path / "tty")


CHILD = """
import sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
driver = make("console", f"pty:link={sys.argv[1]}/tty", Keep(Path(sys.argv[1], "keep")))
print("open", flush=True)
for line in sys.stdin:
    if line == "begin\\n":
        driver.begin()
        driver.start(lambda data: print(data, file=sys.stderr, flush=True), 0)
    else:
        driver.write(line.encode(), 0)
    print("done", flush=True)
"""


class Incarnation:
    """The driver in a process of its own, to be killed."""

    def __init__(self, tmp_path):
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, text=True, **pipes)
        assert self.process.stdout.readline() == "open\n"

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self):
        with self.process:
            self.process.send_signal(signal.SIGKILL)


def test_a_death_is_not_noticed_where_a_standby_is_ready(tmp_path):
    first = Incarnation(tmp_path)
    first.tell("begin")
    terminal = Terminal(tmp_path / "tty")
    for _ in range(3):
        heir = Incarnation(tmp_path)
        first.tell("before")
        assert terminal.read(7) == b"before\n"
        first.kill()
        terminal.write(b"typed")
        heir.tell("begin")
        assert heir.process.stderr.readline() == "b'typed'\n"
        heir.tell("after")
        assert terminal.read(6) == b"after\n"
        first = heir
    first.kill()
    terminal.close()


def test_without_a_standby_there_is_a_new_one_and_the_link_leads_there(tmp_path):
    first = Incarnation(tmp_path)
    first.tell("begin")
    terminal = Terminal(tmp_path / "tty")
    first.kill()
    assert select.select([terminal.fd], [], [], PATIENCE)[0]
    with pytest.raises(OSError, match="Input/output error"):
        os.write(terminal.fd, b"x")
    second = Incarnation(tmp_path)
    second.tell("begin")
    again = Terminal(tmp_path / "tty")
    second.tell("hello")
    assert again.read(6) == b"hello\n"
    for each in (terminal, again):
        each.close()
    second.kill()


def test_a_standby_that_is_never_needed_changes_nothing(tmp_path, console):
    before = sorted(tmp_path.iterdir()), os.readlink(console.link)
    Console(tmp_path, begin=False).driver.close()
    assert (sorted(tmp_path.iterdir()), os.readlink(console.link)) == before
    terminal = Terminal(console.link)
    console.driver.write(b"still there", 0)
    assert terminal.read(11) == b"still there"
    terminal.close()


def test_without_a_link_the_device_is_told(tmp_path, capsys):
    driver = make("console", "pty", Keep(tmp_path / "keep.web:hvc0"))
    driver.begin()
    told = capsys.readouterr().err
    assert told.startswith("console web/hvc0 is at /dev/pts/")
    Terminal(told.split()[-1]).close()
    driver.close()


def test_what_another_driver_kept_is_not_in_the_way(tmp_path):
    keep = Keep(tmp_path / "keep.web:hvc0")
    console = make("console", f"unix:path={tmp_path}/sock", keep)
    console.begin()
    console.write(b"for whoever comes", 0)
    console.close()
    left = {path: path.read_bytes() for path in [keep.path]}
    driver = make("console", f"pty:link={tmp_path}/tty", keep)
    driver.begin()
    terminal = Terminal(tmp_path / "tty")
    driver.write(b"here", 0)
    assert terminal.read(4) == b"here"
    terminal.close()
    driver.close()
    assert {path: path.read_bytes() for path in [keep.path]} == left


def test_it_leaves_nothing_in_the_way_of_another(tmp_path):
    keep = Keep(tmp_path / "keep.web:hvc0")
    for _ in range(2):
        for spec in (f"pty:link={tmp_path}/tty", f"unix:path={tmp_path}/sock"):
            driver = make("console", spec, keep)
            driver.begin()
            driver.close()


def test_files_are_left_alone(tmp_path):
    (tmp_path / "tty").write_text("a file")
    with pytest.raises(DriverError, match="exists and is no link: remove it or name another"):
        Console(tmp_path)
    with pytest.raises(DriverError, match="its directory does not exist: make it"):
        make("console", f"pty:link={tmp_path}/missing/tty", Keep(tmp_path / "keep"))


def test_a_real_terminal_program(console):
    if not shutil.which("picocom"):
        pytest.skip("picocom is not installed (Debian package picocom)")
    console.start()
    outer, inner = os.openpty()
    command = ["picocom", "-q", "--noreset", "--nolock", str(console.link)]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner) as client:
        os.close(inner)
        user = Terminal.__new__(Terminal)
        user.fd = outer
        while not select.select([outer], [], [], 0.05)[0]:
            console.driver.write(b"$", 0)  # dropped until it is there
        assert user.read(1) == b"$"
        user.write(b"l")
        assert console.input.get(timeout=PATIENCE) == b"l"
        user.write(b"\x01\x11")  # Ctrl-A Ctrl-Q: leave without a reset
        client.wait(PATIENCE)
    os.close(outer)
