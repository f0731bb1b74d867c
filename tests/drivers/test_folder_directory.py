"""What a guest sees of it is tested with the model: tests/service_os/models/test_ninep.py."""

import errno
import os
import subprocess
import sys

import pytest

from drivers.folders import Change
from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, make


def opened(tmp_path, options=""):
    share = tmp_path / "share"
    share.mkdir(exist_ok=True)
    return make("folder", f"directory:path={share}{options}", Keep(tmp_path / "keep"))


def test_a_standby_changes_nothing_and_takes_the_directory_that_is_there_when_it_begins(tmp_path):
    standby = opened(tmp_path)
    assert os.listdir(tmp_path) == ["share"]
    (tmp_path / "share").rename(tmp_path / "old")
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "new").touch()
    standby.begin()
    assert standby.stat(b"new").st_size == 0
    standby.close()
    never = opened(tmp_path)
    never.close()


def test_a_directory_that_is_gone_when_it_begins_is_named(tmp_path):
    standby = opened(tmp_path)
    (tmp_path / "share").rmdir()
    with pytest.raises(DriverError, match="share: No such file or directory; path= names a"):
        standby.begin()
    standby.close()


def test_what_cannot_be_shared_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DriverError, match="Not a directory; path= names a directory"):
        make("folder", f"directory:path={tmp_path}/file", Keep(tmp_path / "keep"))
    for tag in ("x" * 32, "ä" * 16):
        with pytest.raises(SpecError, match="give a name of 1 to 31 bytes"):
            check("folder", f"directory:path=/,tag={tag}")
    (tmp_path / "share").mkdir()
    spec = f"directory:path={tmp_path}/share"
    driver = make("folder", spec, Keep(tmp_path / "none" / "keep"))
    with pytest.raises(DriverError, match="cannot be kept: No such file or directory; the machine"):
        driver.begin()
    driver.close()


def test_other_file_systems_below_are_not_shown():
    driver = make("folder", "directory:path=/", Keep("/nonexistent"))
    assert driver.stat(b"etc").st_ino == os.stat("/etc").st_ino
    for path in (b"proc", b"proc/self"):
        with pytest.raises(OSError, match="cross-device"):
            driver.stat(path)
    driver.close()


CHILD = """
import os, sys
from pathlib import Path
from drivers.folder_directory import DirectoryFolder
from drivers.folders import Change
from drivers.interface import Keep
base = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
driver = DirectoryFolder(DirectoryFolder.Options(base / "share", Keep(base / "keep")))
driver.begin()
flags = os.O_RDWR
driver.create(b"f", flags, 0o444).close()
inode = driver.stat(b"f").st_ino
try:
    driver.open(b"f", flags)
except PermissionError:
    print("refused")
file = driver.reopen(b"f", flags, inode)
print(file.write(0, memoryview(b"text")), oct(file.stat().st_mode))
file.change(Change(size=2))
print(driver.stat(b"f").st_size)
"""


def test_what_was_open_for_writing_is_again_whatever_its_mode(tmp_path):
    """As git writes its objects. Root would be allowed anything, so it is somebody else."""
    (tmp_path / "share").mkdir()
    for path in (tmp_path, tmp_path / "share"):
        path.chmod(0o777)
    above = [tmp_path.parent, tmp_path.parent.parent]
    modes = [path.stat().st_mode for path in above]
    for path in above:
        path.chmod(0o755)
    try:
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        for path, mode in zip(above, modes, strict=True):
            path.chmod(mode)
    assert said.split() == ["refused", "4", "0o100444", "2"]


def test_another_file_in_its_place_is_stale(tmp_path):
    driver = opened(tmp_path)
    (tmp_path / "share" / "f").touch()
    (tmp_path / "share" / "g").touch()
    inode = driver.stat(b"f").st_ino
    driver.reopen(b"f", os.O_RDONLY, inode).close()
    with pytest.raises(OSError, match="Stale") as raised:
        driver.reopen(b"g", os.O_RDONLY, inode)
    assert raised.value.errno == errno.ESTALE
    driver.change(b"f", Change(size=5, mode=0o600))
    assert (driver.stat(b"f").st_size, driver.stat(b"f").st_mode & 0o777) == (5, 0o600)
    driver.close()
