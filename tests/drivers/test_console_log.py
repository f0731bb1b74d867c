from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.console_log import LogConsole
from drivers.interface import DriverError


def opened(path):
    return LogConsole(LogConsole.Options(path=Path(path)))


def test_a_new_device_begins_where_the_file_ends(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"earlier\n")
    log = opened(path)
    assert log.positional
    log.write(b"later\n", log.origin)
    log.close()
    assert path.read_bytes() == b"earlier\nlater\n"


def test_a_missing_file_is_made(tmp_path):
    log = opened(tmp_path / "log")
    assert log.origin == 0
    log.close()
    assert (tmp_path / "log").exists()


@given(st.lists(st.tuples(st.binary(max_size=20), st.booleans())))
def test_what_is_written_again_changes_nothing(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("log") / "log"
    log = opened(path)
    position = log.origin
    for data, died in chunks:
        log.write(data, position)
        if died:
            log.close()
            log = opened(path)
            log.write(data, position)
        position += len(data)
    log.close()
    assert path.read_bytes() == b"".join(data for data, _ in chunks)


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "log"):
        with pytest.raises(DriverError, match="cannot be opened for writing") as raised:
            opened(path)
        assert str(path) in str(raised.value)
