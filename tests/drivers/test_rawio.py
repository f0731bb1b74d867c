import errno
import os

import pytest

from drivers.interface import MediumError
from drivers.rawio import medium_error, read_all, write_all


@pytest.fixture
def fd(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_what_was_written_is_read_from_the_same_place(fd):
    write_all(fd, 700, b"splitvisor")
    into = bytearray(10)
    read_all(fd, 700, memoryview(into))
    assert into == b"splitvisor"


def test_a_file_that_ends_early_is_a_medium_error_that_says_where(fd):
    write_all(fd, 0, b"12345678")
    with pytest.raises(MediumError, match="the file ends at byte 8"):
        read_all(fd, 4, memoryview(bytearray(16)))


def test_reading_nothing_beyond_the_end_is_fine(fd):
    read_all(fd, 100, memoryview(bytearray()))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "No space left on device: free some room"),
        (errno.EBADF, "Bad file descriptor"),
    ],
)
def test_a_medium_error_says_the_cure_where_one_is_known(number, text):
    assert str(medium_error(OSError(number, os.strerror(number)))) == text
