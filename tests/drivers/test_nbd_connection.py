import contextlib
import errno
import os
import select
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import nbd_connection
from drivers.block_nbd import MAX_UNFLUSHED
from drivers.interface import DriverError, Keep, MediumError, UnsupportedError
from drivers.nbd_protocol import Command, Transmission
from drivers.registry import make
from tests.drivers.nbd_disks import begun, got, opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.sock"


HELLO = b"NBDMAGICIHAVEOPT\x00\x03"
ACK = struct.pack(">QIII", 0x3E889045565A9, 7, 1, 0)
EXPORT = struct.pack(">QIIIHQH", 0x3E889045565A9, 7, 3, 12, 0, 1 << 20, 0x65)


class Liar:
    """A server on a thread of its own that says what each connection is given, and then closes it.

    What follows upon the handshake is said to each request; `{cookie}` stands for the right one.
    """

    def __init__(self, path, *connections, hold=False):
        self._connections = list(connections)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._ending = os.pipe()
        self._hold = hold
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.close(self._ending[1])
        self._thread.join()
        os.close(self._ending[0])
        self._listener.close()

    def _serve(self):
        while self._readable(self._listener):
            connection, _ = self._listener.accept()
            said = self._connections.pop(0) if len(self._connections) > 1 else self._connections[0]
            greeting, answer = said if isinstance(said, tuple) else (said, None)
            with connection, contextlib.suppress(OSError):
                connection.sendall(greeting[: len(HELLO)])
                if greeting[len(HELLO) :]:
                    connection.recv(4 + 16 + 8)
                    connection.sendall(greeting[len(HELLO) :])
                if answer is not None:
                    while request := connection.recv(28):
                        if answer == b"" or len(request) < 28 or request[6:8] == b"\0\2":
                            break
                        connection.sendall(answer.replace(b"{cookie}", request[8:16]))
                if self._hold:
                    self._readable(None)

    def _readable(self, which):
        """Whether it is, or else all comes to its end."""
        found = select.select([self._ending[0], *([which] if which else [])], [], [])[0]
        return self._ending[0] not in found


GOOD = HELLO + EXPORT + ACK
FINE = bytes.fromhex("67446698 00000000") + b"{cookie}"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", r"closed the connection: is it an NBD server, and does it have this export\?$"),
        (HELLO[:10], "it closed the connection"),
        (HELLO + EXPORT, "it closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "it does not speak NBD"),
        (HELLO + EXPORT[:28] + struct.pack(">H", 1) + ACK, "it closed the connection"),
        (HELLO + ACK, "it does not say what the export is"),
        (HELLO + EXPORT[:16] + b"\xff\xff\xff\xff", "its answer to an option has 4294967295 b"),
    ],
)
def test_a_server_that_lies_is_refused_in_one_line(path, said, why):
    with Liar(path, said), pytest.raises(DriverError, match=why) as error:
        opened(path)
    assert str(error.value).startswith(f"NBD server unix:{path}: ")
    assert "\n" not in str(error.value)


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(path, monkeypatch):
    monkeypatch.setattr("drivers.block_nbd.OPENING", 0.2)
    with Liar(path, HELLO, hold=True), pytest.raises(DriverError, match="it does not answer: is"):
        opened(path)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it closed the connection"),
        (bytes(16), "its answer to a request is garbage"),
        (bytes.fromhex("67446698 00000000 7777777777777777"), "it answers what was not asked"),
        (FINE[:10], "it does not answer"),
        (FINE + bytes(100), "it does not answer"),
        (bytes.fromhex("67446698 0000006c") + b"{cookie}", "it is shutting down"),
    ],
)
def test_a_server_that_answers_nonsense_is_asked_again_until_the_timeout(path, answer, why):
    with (
        Liar(path, (GOOD, answer)),
        begun(path, timeout="1s") as disk,
        pytest.raises(MediumError, match=why),
    ):
        got(disk, 0, 512)


def test_writes_whose_flush_fails_are_not_kept_without_bound(path):
    with Liar(path, (GOOD, FINE)), begun(path) as disk:
        disk._flags |= Transmission.SEND_FLUSH

        def call(command, *rest):
            return errno.EIO if command == Command.FLUSH else 0

        disk._connection.call = call
        piece = memoryview(bytes(1 << 20))
        for at in range(64):
            with contextlib.suppress(MediumError):
                disk.write(at << 20, piece)
        assert sum(len(data) for *_, data in disk._unflushed) <= MAX_UNFLUSHED + len(piece)


def test_a_name_that_nobody_resolves_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("drivers.block_nbd.OPENING", 0.2)
    answered = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    with pytest.raises(DriverError, match="it does not answer"):
        make("block", "nbd:host=far.example", Keep(Path("k")))
    answered.set()


def test_of_several_addresses_each_has_its_share_of_the_time(monkeypatch):
    monkeypatch.setattr("drivers.block_nbd.OPENING", 2.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as taken:
        taken.connect(full.getsockname())  # and who comes next is not answered
        places = [(socket.AF_INET, 1, 6, "", full.getsockname())] * 3
        shares, real = [], nbd_connection._connected

        def connected(family, where, seconds):
            shares.append(seconds)
            return real(family, where, seconds)

        monkeypatch.setattr(nbd_connection, "_connected", connected)
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: places)
        with pytest.raises(DriverError, match="it does not answer"):
            make("block", "nbd:host=far.example", Keep(Path("k")))
    assert len(shares) == 3
    assert sum(shares) <= 2.1


def test_what_the_server_does_not_support(path):
    answer = bytes.fromhex("67446698 0000005f") + b"{cookie}"
    with Liar(path, (GOOD, answer)), begun(path) as disk:
        with pytest.raises(UnsupportedError, match="it does not do this"):
            disk.discard(0, 512)
        with pytest.raises(UnsupportedError, match="it does not do this"):
            disk.write_zeroes(0, 512, unmap=True)


def test_after_nonsense_a_good_answer_of_a_new_connection_counts(path):
    bad, good = (GOOD, bytes(16)), (GOOD, FINE + b"x" * 512)
    with Liar(path, GOOD, bad, bad, good), begun(path) as disk:
        assert got(disk, 0, 512) == b"x" * 512


def test_an_answer_to_an_earlier_request_does_not_count(path, capfd):
    first = bytes.fromhex("67446698 00000000 0000000000000001")
    with Liar(path, (GOOD, first)), begun(path) as disk:
        disk.flush()
        assert capfd.readouterr().err == ""
        disk.flush()
        assert "it answers what was not asked; requests wait" in capfd.readouterr().err


@given(st.binary(max_size=64))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_it_says_the_driver_raises_its_own_errors(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("liar") / "x.sock"
    with Liar(path, HELLO + said), pytest.raises(DriverError):
        opened(path)
    with Liar(path.with_name("y.sock"), GOOD, (GOOD, said or b"?"), GOOD):
        disk = opened(path.with_name("y.sock"), timeout="50ms")
        with contextlib.suppress(DriverError):
            disk.begin()
        with contextlib.suppress(MediumError, UnsupportedError):
            got(disk, 0, 512)
        disk.close()
