"""What clients find is tested with the drivers that listen (test_console_unix.py and others)."""

import errno
import os
import socket
import threading

from drivers import listening
from drivers.listening import Listener


def test_without_descriptors_it_neither_spins_nor_holds_up_its_end(tmp_path, monkeypatch):
    tried, calls = threading.Event(), []

    def accept(_):
        calls.append(None)
        tried.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr(listening, "PAUSE_MS", 600_000)
    listener = Listener(tmp_path / "socket", socket.SOCK_STREAM, calls.append)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "socket"))
        assert tried.wait(60)
        listener.close()
    assert len(calls) == 1
