import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.console_log import LogConsole
from drivers.interface import DriverError


def opened(path):
    return LogConsole(LogConsole.Options(path=Path(path)))


def begun(path):
    log = opened(path)
    log.begin()
    return log


def test_a_new_device_begins_where_the_file_ends(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"earlier\n")
    log = begun(path)
    assert log.positional
    log.write(b"later\n", log.origin)
    log.close()
    assert path.read_bytes() == b"earlier\nlater\n"


def test_what_another_appends_before_it_begins_is_kept(tmp_path):
    path = tmp_path / "log"
    standby, active = opened(path), begun(path)
    active.write(b"first\n", active.origin)
    standby.begin()
    standby.write(b"second\n", standby.origin)
    for log in (standby, active):
        log.close()
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_missing_file_is_made(tmp_path):
    log = begun(tmp_path / "log")
    assert log.origin == 0
    log.close()
    assert (tmp_path / "log").exists()


@given(st.lists(st.tuples(st.binary(max_size=20), st.booleans())))
def test_what_is_written_again_changes_nothing(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("log") / "log"
    log = begun(path)
    position = log.origin
    for data, died in chunks:
        log.write(data, position)
        if died:
            log.close()
            log = begun(path)
            log.write(data, position)
        position += len(data)
    log.close()
    assert path.read_bytes() == b"".join(data for data, _ in chunks)


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    path = tmp_path / "missing" / "log"
    with pytest.raises(DriverError, match="cannot be opened for writing: No such file") as raised:
        opened(path)
    assert str(path) in str(raised.value)


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_fifo_is_refused_at_once_whether_or_not_somebody_reads_it(fifo):
    for how in (None, os.O_RDONLY | os.O_NONBLOCK):
        reader = None if how is None else os.open(fifo, how)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(DriverError, match=f"log {fifo} is a FIFO: name a file"):
            opened(fifo)
        assert os.listdir("/proc/self/fd") == before
        if reader is not None:
            os.close(reader)


def test_a_directory_and_a_socket_are_refused(tmp_path):
    with pytest.raises(DriverError, match=f"log {tmp_path} is a directory: name a file"):
        opened(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    with pytest.raises(DriverError, match="socket is a socket: name a file"):
        opened(tmp_path / "socket")


def test_a_character_device_takes_anything_and_blocks_as_usual():
    log = begun("/dev/null")
    log.write(b"anything", log.origin)
    assert os.get_blocking(log._fd)
    log.close()
