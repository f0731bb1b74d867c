"""Consoles that somebody is attached to from outside, while the service OS dies under them."""

import os
import select
import socket
import time

import pytest

PATIENCE = 60  # seconds; only a failing test waits so long


class Peer:
    """Who sits at a console, on a file descriptor."""

    def __init__(self, fd):
        self.fd = fd
        self.seen = b""

    def until(self, words):
        """Read until these words are there; everything up to them is taken."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.seen:
            left = max(0, deadline - time.monotonic())
            assert select.select([self.fd], [], [], left)[0], self.seen
            data = os.read(self.fd, 4096)
            assert data, self.seen
            self.seen += data
        self.seen = self.seen.partition(words)[2]

    def type(self, data):
        os.write(self.fd, data)


def attached(path):
    """A terminal's file descriptor, once it is there."""
    deadline = time.monotonic() + PATIENCE
    while not os.path.lexists(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.open(path, os.O_RDWR | os.O_NOCTTY)


def connected(path):
    """A connected socket, once somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return client


@pytest.mark.parametrize("console", ["pty", "unix"])
def test_one_talks_to_the_guest_before_and_after_a_death(splitvisor, guest, cpu, tmp_path, console):
    path = tmp_path / "console"
    spec = f"pty:link={path}" if console == "pty" else f"unix:path={path}"
    words = ("--cpu", cpu, "--console", spec, "--serial", "null", "-v")
    with splitvisor.start("run", guest("echo"), *words) as process:
        process.until("stands by")
        client = None if console == "pty" else connected(path)
        peer = Peer(client.fileno() if client else attached(path))
        peer.type(b"before")
        peer.until(b"before")
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        if client:
            client.close()
            client = connected(path)
            peer = Peer(client.fileno())
        peer.type(b"after")
        peer.until(b"after")
        peer.type(b"\x04")
        peer.until(b"echo: 11 bytes\n")
        assert process.end()[0] == 0
    if client:
        client.close()
    else:
        os.close(peer.fd)
    assert not os.path.lexists(path)


def test_a_path_that_is_too_long_is_said_in_one_line(splitvisor, guest, tmp_path):
    path = tmp_path / ("x" * 107)
    status, output, errors = splitvisor("run", guest("echo"), "--console", f"unix:path={path}")
    assert (status, output) == (2, "")
    assert "a socket's path has at most 107 bytes" in errors
    assert errors.count("\n") == 1
