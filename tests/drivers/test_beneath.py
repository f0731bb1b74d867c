import os
import stat

import pytest

from drivers.beneath import again, find


@pytest.fixture
def root(tmp_path):
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_what_is_below_is_found_and_not_opened(tmp_path, root):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("text")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/")
    for name, kind in ((b"d/f", stat.S_IFREG), (b"fifo", stat.S_IFIFO), (b"link", stat.S_IFLNK)):
        fd = find(root, name)
        assert stat.S_IFMT(os.fstat(fd).st_mode) == kind
        os.close(fd)
    fd = find(root, b"d/f")
    with open(again(fd)) as file:
        assert file.read() == "text"
    os.close(fd)


@pytest.mark.parametrize(
    "path", [b"/etc", b"..", b"../x", b"link", b"link/etc", b"d/../../x", b"d/link/d"]
)
def test_nothing_else_is(tmp_path, root, path):
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "d" / "link").symlink_to("..")
    with pytest.raises(OSError, match=r"symbolic links|cross-device|Not a directory"):
        find(root, path, directory=True)


def test_neither_magic_links_nor_other_file_systems():
    root = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="symbolic links"):
        find(root, b"cwd/x")
    os.close(root)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="cross-device"):
        find(root, b"proc/self")
    os.close(root)
