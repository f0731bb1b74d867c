import os

import pytest

from splitvisor.errors import UserError
from splitvisor.image.file import MAX_FILE, read_file


def test_a_regular_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file("image", tmp_path / "a") == b"abc"


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"image .*/none does not exist: check the path"):
        read_file("image", tmp_path / "none")


def test_a_directory_and_a_pipe(tmp_path):
    with pytest.raises(UserError, match=r"rom .* is a directory: name a file"):
        read_file("rom", tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a regular file"):
        read_file("rom", tmp_path / "pipe")


def test_a_file_as_part_of_the_path(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        read_file("image", tmp_path / "a" / "b")


def test_a_path_that_no_host_accepts(tmp_path):
    with pytest.raises(UserError, match="cannot be read: embedded null byte"):
        read_file("image", tmp_path / "a\0b")


@pytest.mark.usefixtures("no_privileges")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "a").touch(mode=0)
    with pytest.raises(UserError, match="may not be read"):
        read_file("image", tmp_path / "a")


def test_a_disk_image_given_by_mistake(tmp_path):
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", MAX_FILE + 1)
    with pytest.raises(UserError, match="more than the 1G that are read: is it a disk image"):
        read_file("image", tmp_path / "disk")
