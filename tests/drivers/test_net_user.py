"""Against the real passt, and against programs that end or babble in its place."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drivers.interface import DriverError, Keep, MediumError, SpecError
from drivers.registry import check, make

KEEP = Keep(Path("/nonexistent"))
PATIENCE = 30.0
MAC = bytes.fromhex("525400123456")


class Outside:
    """What arrives, and whether the link is there."""

    def __init__(self, driver):
        self.driver, self.frames, self.changes = driver, [], 0
        self.news = threading.Condition()
        driver.begin()
        driver.start(self.take, self.change)

    def take(self, frames):
        with self.news:
            self.frames += frames
            self.news.notify_all()

    def change(self):
        with self.news:
            self.changes += 1
            self.news.notify_all()

    def wait(self, what):
        with self.news:
            assert self.news.wait_for(what, PATIENCE)


@pytest.fixture
def instead(tmp_path, monkeypatch):
    """Puts a program in passt's place: Python, with the socket as `peer`."""

    def put(code):
        program = tmp_path / "passt"
        program.write_text(
            f"#!{sys.executable}\nimport socket, struct, sys\n"
            f"peer = socket.socket(fileno=int(sys.argv[sys.argv.index('--fd') + 1]))\n{code}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


def test_without_passt_the_cure_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DriverError, match="Debian: apt-get install passt"):
        make("net", "user", KEEP)


@pytest.mark.parametrize(
    "ports",
    [
        "abc",
        "99999",
        "0",
        "22:",
        ":22",
        "5-3",
        "22,",
        "22:70000",
        "~22:23",
        "auto",
        "lan/22",
        "1" * 99,
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_ports_that_are_none_are_refused(kind, ports):
    with pytest.raises(SpecError, match=re.escape(f"{kind} {ports!r} is no list of ports: write")):
        check("net", f'user:{kind}="{ports}"')


@pytest.mark.parametrize(
    "ports",
    [
        "none",
        "all",
        "22",
        "22:23",
        "22,25",
        "22-80:32-90",
        "127.0.0.1/22",
        "127.0.0.1%lo/20-30,~25",
    ],
)
def test_what_passt_understands_is_let_through(ports):
    check("net", f'user:tcp="{ports}"')


def test_one_that_ends_at_once_is_told_with_its_last_words(instead):
    instead("print('a word', file=sys.stderr); sys.exit('no room: go')")
    driver = make("net", "user", KEEP)
    with pytest.raises(DriverError, match=r"passt has ended at once: no room: go$"):
        driver.begin()
    driver.close()


def test_a_port_that_somebody_has_is_told():
    if shutil.which("passt") is None:
        pytest.skip("no passt: apt-get install passt")
    family, both = socket.AF_INET6, socket.has_dualstack_ipv6()
    if not both:
        pytest.skip("no IPv6, and passt takes what it gets")
    with socket.create_server(("::", 0), family=family, dualstack_ipv6=both) as taken:
        port = taken.getsockname()[1]
        driver = make("net", f"user:tcp={port}", KEEP)
        with pytest.raises(DriverError, match="passt has ended at once: ") as raised:
            driver.begin()
        assert str(port) in str(raised.value)
        driver.close()


def test_what_it_says_later_is_passed_on(instead, capfd):
    instead("peer.sendall(peer.recv(64)); peer.recv(1); print('a word', file=sys.stderr)")
    driver = make("net", "user", KEEP)
    outside = Outside(driver)
    driver.send([memoryview(bytes(60))])
    outside.wait(lambda: outside.changes)
    driver._listener._thread.join()
    assert "a word" in capfd.readouterr().err
    driver.close()


@pytest.fixture
def real():
    if shutil.which("passt") is None:
        pytest.skip("no passt: apt-get install passt")
    driver = make("net", "user:mac=52:54:00:12:34:56", KEEP)
    yield driver
    driver.close()


def test_passt_answers_who_is_there(real):
    outside = Outside(real)
    gateway = bytes((192, 0, 2, 1))
    ask = b"\x00\x01\x08\x00\x06\x04\x00\x01" + MAC + bytes((192, 0, 2, 2)) + bytes(6) + gateway
    real.send([memoryview(b"\xff" * 6 + MAC + b"\x08\x06" + ask)])
    outside.wait(
        lambda: any(f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" for f in outside.frames)
    )
    assert real.link


def test_passt_that_dies_is_a_cable_that_is_out(real):
    outside = Outside(real)
    os.kill(real._passt.pid, signal.SIGKILL)
    outside.wait(lambda: outside.changes)
    assert not real.link
    with pytest.raises(MediumError, match="passt has ended"):
        real.send([memoryview(bytes(60))])


HOLDER = """
import sys, os
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
driver = make("net", "user", Keep(Path("/nonexistent")))
driver.begin()
driver.start(lambda frames: None, lambda: None)
print(driver._passt.pid, flush=True)
sys.stdin.read()
"""


def test_passt_dies_with_the_process(real):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        passt = os.pidfd_open(int(holder.stdout.readline()))
        holder.kill()
    assert select.select([passt], [], [], PATIENCE)[0]
    os.close(passt)


def test_frames_are_framed_both_ways(instead):
    instead("while data := peer.recv(65536): peer.sendall(data)")
    driver = make("net", "user", KEEP)
    outside = Outside(driver)
    frames = [bytes([n]) * (14 + 50 * n) for n in range(30)]
    driver.send([memoryview(frame) for frame in frames])
    outside.wait(lambda: len(outside.frames) >= 30)
    assert outside.frames == frames
    driver.close()


def test_who_reads_nothing_is_not_waited_for_and_gets_whole_frames_later(instead):
    instead("sys.stdin.close(); peer.recv(1, socket.MSG_PEEK); import signal; signal.pause()")
    driver = make("net", "user", KEEP)
    Outside(driver)
    lent = memoryview(bytes(1500))
    for _ in range(2000):
        driver.send([lent] * 4)
    assert 0 < len(driver._unsent) <= 4 * 1504
    driver.close()


def test_an_answer_that_is_padded_is_one_frame(instead):
    instead(
        "peer.recv(100)\n"
        "padded = bytes(12) + b'\\x08\\x06' + bytes(46)\n"
        "frame = bytes(12) + b'\\x08\\x00' + b'x' * 50\n"
        "for one in (padded, frame): peer.sendall(struct.pack('>I', len(one)) + one)\n"
        "peer.recv(1)"
    )
    driver = make("net", "user", KEEP)
    outside = Outside(driver)
    outside.wait(lambda: outside.frames)
    assert outside.frames == [bytes(12) + b"\x08\x00" + b"x" * 50]
    assert driver.link
    driver.close()


@pytest.mark.parametrize("length", [0, 13, 65551, 0xFFFFFFFF])
def test_babble_is_a_cable_that_is_out(instead, length):
    instead(f"peer.sendall(struct.pack('>I', {length}) + bytes(100)); peer.recv(1)")
    driver = make("net", "user", KEEP)
    outside = Outside(driver)
    outside.wait(lambda: outside.changes)
    assert not driver.link
    assert outside.frames == []
    driver.close()


def test_one_that_cannot_be_started_is_named(instead, tmp_path):
    instead("")
    driver = make("net", "user", KEEP)
    (tmp_path / "passt").write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(DriverError, match="passt cannot be started: No such file"):
        driver.begin()
    driver.close()


def test_a_standby_starts_nothing(instead, tmp_path):
    instead(f"open({str(tmp_path / 'started')!r}, 'w')")
    make("net", "user", KEEP).close()
    assert not (tmp_path / "started").exists()
