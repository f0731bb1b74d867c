import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, claims, make

PATIENCE = 60  # seconds; only a failing test waits so long


class Console:
    """A driver as the service OS uses it."""

    def __init__(self, tmp_path, options="", begin=True):
        self.path = tmp_path / "socket"
        self.driver = make("console", f"unix:path={self.path}{options}", Keep(tmp_path / "keep"))
        self.input = queue.Queue()
        self.position = self.driver.origin
        if begin:
            self.driver.begin()

    def write(self, data):
        self.driver.write(data, self.position)
        self.position += len(data)

    def start(self):
        self.driver.start(self.input.put, 0)

    def client(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(str(self.path))
        return client

    def wait_for_clients(self, count):
        while len(self.driver._clients) != count:
            os.sched_yield()


@pytest.fixture
def console(tmp_path):
    console = Console(tmp_path)
    yield console
    console.driver.close()


def received(client, count):
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        assert more, f"ended after {data!r}"
        data += more
    return data


def test_clients_are_shown_the_same_and_what_they_type_is_the_guests(console):
    console.start()
    with console.client() as first, console.client() as second:
        console.wait_for_clients(2)
        console.write(b"login: ")
        assert [received(client, 7) for client in (first, second)] == [b"login: "] * 2
        first.sendall(b"ro")
        assert console.input.get(timeout=PATIENCE) == b"ro"
        second.sendall(b"ot")
        assert console.input.get(timeout=PATIENCE) == b"ot"
    console.wait_for_clients(0)
    with console.client() as third:
        console.wait_for_clients(1)
        console.write(b"$ ")
        assert received(third, 2) == b"$ "


def test_a_guest_that_is_started_anew_goes_on_where_the_last_one_ended(tmp_path):
    for said in (b"first boot", b"second", b"third"):
        console = Console(tmp_path)
        console.position = console.driver.origin
        with console.client() as client:
            console.wait_for_clients(1)
            console.write(said)
            assert received(client, len(said)) == said
        console.driver.close()


def test_what_nobody_saw_is_given_to_the_first_who_comes(console):
    console.write(b"x" * (64 << 10))
    console.write(b"12345")
    with console.client() as first:
        assert received(first, 64 << 10) == (b"x" * (64 << 10) + b"12345")[5:]
        console.wait_for_clients(1)
        with console.client() as second:
            console.wait_for_clients(2)
            console.write(b"now")
            assert received(first, 3) == received(second, 3) == b"now"


def test_without_a_backlog_it_is_dropped(tmp_path):
    console = Console(tmp_path, ",backlog=0")
    console.write(b"unseen")
    with console.client() as client:
        console.wait_for_clients(1)
        console.write(b"seen")
        assert received(client, 4) == b"seen"
    console.driver.close()


def test_input_stays_with_the_client_until_the_guest_listens(console):
    with console.client() as client:
        client.sendall(b"early")
        console.wait_for_clients(1)
        console.write(b"!")
        assert received(client, 1) == b"!"
        assert console.input.empty()
        console.start()
        assert console.input.get(timeout=PATIENCE) == b"early"


def test_who_has_no_more_to_say_may_still_listen(console):
    console.start()
    with console.client() as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert console.input.get(timeout=PATIENCE) == b"last words"
        console.write(b"heard")
        assert received(client, 5) == b"heard"
    console.wait_for_clients(0)


def test_a_client_that_takes_nothing_is_let_go(tmp_path):
    console = Console(tmp_path, ",stall=50ms")
    with console.client() as idle:
        console.wait_for_clients(1)
        with console.client() as reader:
            console.wait_for_clients(2)
            got = []
            size = 4 << 20
            thread = threading.Thread(target=lambda: got.append(received(reader, size)))
            thread.start()
            console.write(b"y" * size)
            thread.join(PATIENCE)
            assert got == [b"y" * size]
            assert len(console.driver._clients) == 1
        while idle.recv(1 << 20):
            pass  # what it had been given, and then the end
    console.driver.close()


def test_no_more_than_sixteen_at_a_time(console):
    clients = [console.client() for _ in range(16)]
    console.wait_for_clients(16)
    with console.client() as one_too_many:
        assert one_too_many.recv(1) == b""
    for client in clients:
        client.close()


def test_what_has_come_is_delivered_when_it_is_closed_and_the_path_goes(tmp_path):
    console = Console(tmp_path)
    blocked, go = threading.Event(), threading.Event()
    taken = []

    def deliver(data):
        taken.append(data)
        blocked.set()
        assert go.wait(PATIENCE)

    console.driver.start(deliver, 0)
    with console.client() as client, console.client() as silent:
        silent.shutdown(socket.SHUT_WR)
        console.wait_for_clients(2)
        client.sendall(b"a" * 1024)
        assert blocked.wait(PATIENCE)
        client.sendall(b"b" * 5000)
        go.set()
        console.driver.close()
        assert b"".join(taken) == b"a" * 1024 + b"b" * 5000
        assert client.recv(1) == silent.recv(1) == b""
    assert not console.path.exists()


def test_a_standby_leaves_path_and_clients_to_the_one_that_serves(tmp_path):
    active = Console(tmp_path)
    standby = Console(tmp_path, begin=False)
    with active.client() as client:
        active.wait_for_clients(1)
        active.write(b"one")
        assert received(client, 3) == b"one"
    active.wait_for_clients(0)
    active.write(b"two")
    standby.driver.close()  # it was never needed
    assert active.path.exists()
    standby = Console(tmp_path, begin=False)
    active.driver.close()
    standby.driver.begin()
    with standby.client() as client:
        assert received(client, 3) == b"two"
    standby.driver.close()


CHILD = """
import sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
driver = make("console", f"unix:path={sys.argv[1]}/socket", Keep(Path(sys.argv[1], "keep")))
driver.begin()
position = int(sys.argv[2])
for line in sys.stdin:
    driver.write(line.encode(), position)
    position += len(line)
    print("done", flush=True)
"""


class Incarnation:
    """The driver in a process of its own, to be killed."""

    def __init__(self, tmp_path, position):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(position)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def write(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self):
        with self.process:
            self.process.send_signal(signal.SIGKILL)


def test_after_a_death_the_next_listens_there_and_repeats_nothing_that_was_seen(tmp_path):
    first = Incarnation(tmp_path, 0)
    first.write("unseen\n")
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(tmp_path / "socket"))
    assert received(client, 7) == b"unseen\n"
    first.write("seen\n")
    first.kill()
    assert received(client, 5) == b"seen\n"
    assert client.recv(1) == b""
    client.close()
    second = Incarnation(tmp_path, 7)
    second.write("seen\n")  # replayed
    second.write("later\n")
    second.kill()
    third = Incarnation(tmp_path, 12)
    third.write("later\n")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(tmp_path / "socket"))
        assert received(client, 6) == b"later\n"
    third.kill()


def test_a_path_where_somebody_answers_and_other_files_are_left_alone(tmp_path):
    first = Console(tmp_path)
    second = Console(tmp_path, begin=False)
    with pytest.raises(DriverError, match="somebody listens there already: name another path"):
        second.driver.begin()
    second.driver.close()
    first.driver.close()
    (tmp_path / "socket").write_text("a file")
    with pytest.raises(DriverError, match="is a file of another kind: remove it"):
        Console(tmp_path)
    assert (tmp_path / "socket").read_text() == "a file"
    with pytest.raises(DriverError, match="its directory does not exist: make it"):
        make("console", f"unix:path={tmp_path}/missing/s", Keep(tmp_path / "keep"))


def test_paths_that_are_too_long_are_refused_before_anything_starts(tmp_path):
    path = "/" + "x" * 107
    with pytest.raises(SpecError, match="a socket's path has at most 107 bytes, not 108"):
        check("console", f"unix:path={path}")
    check("console", f"unix:path={path[:-1]}")
    assert claims("console", f"unix:path={path[:-1]}")[0].exclusive


def test_a_real_client(console):
    if not shutil.which("socat"):
        pytest.skip("socat is not installed (Debian package socat)")
    console.start()
    command = ["socat", "-", f"UNIX-CONNECT:{console.path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        console.wait_for_clients(1)
        console.write(b"$ ")
        assert client.stdout.read(2) == b"$ "
        client.stdin.write(b"ls\n")
        client.stdin.close()
        assert console.input.get(timeout=PATIENCE) == b"ls\n"
        console.driver.close()
        assert client.stdout.read() == b""
    console.driver.close = lambda: None
