import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from drivers.block_file import FileBlock
from drivers.interface import DriverError, MediumError


def opened(path, readonly=False):
    return FileBlock(FileBlock.Options(path=Path(path), readonly=readonly))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(range(256)) * 16)
    return path


@pytest.fixture
def loop_device(image):
    made = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device can be made here: {made.stderr.strip()}")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_a_write_is_in_the_file_when_it_returns(image):
    disk = opened(image)
    assert (disk.size, disk.readonly, disk.identity) == (4096, False, "disk.img")
    disk.write(512, memoryview(b"x" * 512))
    assert image.read_bytes()[512:1024] == b"x" * 512
    into = bytearray(1024)
    disk.read(0, memoryview(into))
    assert into == image.read_bytes()[:1024]
    disk.flush()
    disk.close()


def test_a_size_is_taken_when_it_begins(image):
    disk = opened(image)
    os.truncate(image, 8192)
    disk.begin()
    assert disk.size == 8192
    disk.close()


@pytest.mark.parametrize("begins", [True, False])
def test_only_a_disk_that_began_is_flushed_when_it_is_closed(image, begins, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    disk = opened(image)
    if begins:
        disk.begin()
    disk.close()
    assert len(flushed) == begins


def test_a_readonly_disk_is_opened_so_that_nothing_can_write(image):
    disk = opened(image, readonly=True)
    assert disk.readonly
    with pytest.raises(MediumError):
        disk.write(0, memoryview(bytes(512)))
    disk.close()


def test_a_file_that_shrinks_under_the_guest_gives_medium_errors(image):
    disk = opened(image)
    os.truncate(image, 512)
    with pytest.raises(MediumError):
        disk.read(0, memoryview(bytearray(1024)))
    disk.close()


def test_a_block_device_serves_like_a_file(loop_device):
    disk = opened(loop_device)
    assert disk.size == 4096
    disk.write(1024, memoryview(b"y" * 512))
    disk.flush()
    into = bytearray(512)
    disk.read(1024, memoryview(into))
    assert into == b"y" * 512
    disk.close()


def test_a_long_name_is_cut_to_what_a_guest_can_read(tmp_path):
    path = tmp_path / ("d" * 30 + "ä")
    path.write_bytes(bytes(512))
    disk = opened(path)
    assert disk.identity == "d" * 20
    disk.close()


def test_files_that_cannot_be_disks_are_named_with_the_cure(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "odd").write_bytes(bytes(1000))
    for name, cure in {
        "missing": "does not exist: make it with 'truncate",
        ".": "is a directory: name a raw image",
        "empty": "is empty: give it a size",
        "odd": "has 1000 bytes, not a multiple of 512: round it up with 'truncate -s 1024",
    }.items():
        with pytest.raises(DriverError) as raised:
            opened(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)
        assert cure in str(raised.value)


def test_a_readonly_directory_and_a_character_device_are_refused(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(DriverError, match="neither a file nor a block device"):
            opened(path, readonly=True)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_fifo_is_refused_at_once(tmp_path, readonly):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DriverError, match="fifo is neither a file nor a block device"):
        opened(tmp_path / "fifo", readonly)


@pytest.fixture
def nobody():
    """Whoever runs the tests, root's powers are put off."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_no_permission_is_said(image, nobody):
    with contextlib.suppress(PermissionError):  # already out of reach in root's directory
        image.chmod(0)
    with pytest.raises(DriverError, match="may not be opened: change its permissions"):
        opened(image)


def test_nothing_stays_open_after_a_refusal(tmp_path):
    (tmp_path / "odd").write_bytes(bytes(1000))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DriverError):
        opened(tmp_path / "odd")
    assert os.listdir("/proc/self/fd") == before
