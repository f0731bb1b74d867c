import contextlib
import fcntl
import os
import socket
import threading

import pytest

from protos.io_pb2 import Grant
from service_os.grants import WAITING, GrantServer, Refused, Windows

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
GRANT = {"epoch": 3, "token": "secret", "guest": "g", "device": "d"}


@pytest.fixture
def memfd():
    fd = os.memfd_create("window", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    yield fd
    os.close(fd)


@pytest.fixture
def grants(tmp_path):
    """What was received, and a function that sends packets and returns when all are handled."""
    windows = Windows()
    path = str(tmp_path / "grants")

    def send(*packets):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.connect(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it hung up first
                for data, fds in packets:
                    socket.send_fds(peer, [data], fds)
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b""

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        server = GrantServer(windows, 3, "secret")
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        yield windows, send
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def grant(**fields):
    return Grant(**{**GRANT, **fields}).SerializeToString()


def test_a_sealed_window_waits_and_is_taken_once(grants, memfd):
    windows, send = grants
    send((grant(), [memfd]), (grant(device="e"), [memfd]))
    os.pwrite(memfd, b"shared", 0)
    for device in "de":
        with windows.take("g", device, 0, 4096, 0) as window:
            assert window[:6] == b"shared"
    with pytest.raises(Refused, match="no grant window for g/d within 0 s"):
        windows.take("g", "d", 0, 4096, 0)


def test_a_window_that_nobody_took_is_not_taken_for_another(grants, memfd):
    windows, send = grants
    send((grant(number=1), [memfd]))
    with pytest.raises(Refused, match="no grant window for g/d within 0 s"):
        windows.take("g", "d", 2, 4096, 0)
    send((grant(number=3), [memfd]), (grant(number=2), []))
    with pytest.raises(Refused, match="one file descriptor, not 0"):
        windows.take("g", "d", 2, 4096, 0)
    windows.take("g", "d", 3, 4096, 0).close()


def test_of_many_that_nobody_takes_the_oldest_are_given_back(grants, memfd):
    windows, send = grants
    send(*((grant(number=number), [memfd]) for number in range(WAITING + 1)))
    with pytest.raises(Refused, match="no grant window"):
        windows.take("g", "d", 0, 4096, 0)
    for number in range(1, WAITING + 1):
        windows.take("g", "d", number, 4096, 0).close()


def test_who_does_not_know_the_token_is_not_listened_to(grants, memfd):
    windows, send = grants
    send((grant(token="guess"), [memfd]), (grant(), [memfd]))
    with pytest.raises(Refused, match="no grant window"):
        windows.take("g", "d", 0, 4096, 0)


def test_a_peer_that_says_nothing_keeps_nobody_waiting(grants, memfd, tmp_path):
    windows, send = grants
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(str(tmp_path / "grants"))
        send((grant(), [memfd]))
        windows.take("g", "d", 0, 4096, 0).close()


def test_garbage_is_not_listened_to(grants, memfd):
    windows, send = grants
    send((b"\xff" * 100, [memfd]), (grant(), [memfd]))
    with pytest.raises(Refused, match="no grant window"):
        windows.take("g", "d", 0, 4096, 0)


@pytest.mark.parametrize(
    ("seals", "size", "reason"),
    [
        (0, 4096, "is not sealed"),
        (fcntl.F_SEAL_GROW, 4096, "is not sealed"),
        (SEALS, 8192, "is not 4096 bytes long"),
        (SEALS, 0, "cannot be mapped"),
    ],
)
def test_a_window_that_cannot_be_trusted_waits_as_the_reason(grants, seals, size, reason):
    windows, send = grants
    fd = os.memfd_create("window", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    send((grant(), [fd]))
    os.close(fd)
    with pytest.raises(Refused, match=reason):
        windows.take("g", "d", 0, 4096, 0)


def test_wrong_descriptors_and_epochs_are_refused_and_leak_nothing(grants, memfd):
    windows, send = grants
    before = len(os.listdir("/proc/self/fd"))
    send(
        (grant(device="none"), []),
        (grant(device="two"), [memfd, memfd]),
        (grant(device="old", epoch=2), [memfd]),
    )
    assert len(os.listdir("/proc/self/fd")) == before
    for device, reason in {
        "none": "one file descriptor, not 0",
        "two": "one file descriptor, not 2",
        "old": "for epoch 2, this is 3",
    }.items():
        with pytest.raises(Refused, match=reason):
            windows.take("g", device, 0, 4096, 0)
