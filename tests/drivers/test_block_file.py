import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from drivers import holes
from drivers.block_file import FileBlock
from drivers.interface import Ability, Claim, DriverError, MediumError

MIB = 1 << 20


def opened(path, readonly=False, **options):
    return FileBlock(FileBlock.Options(path=Path(path), readonly=readonly, **options))


def content(disk):
    into = bytearray(disk.size)
    disk.read(0, memoryview(into))
    return bytes(into)


def space(path):
    return path.stat().st_blocks * 512


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(range(256)) * 16)
    return path


@pytest.fixture
def full(tmp_path):
    """A file of 1 MiB that has all of its space."""
    path = tmp_path / "full.img"
    path.write_bytes(b"x" * MIB)
    probe = tmp_path / "probe"
    probe.write_bytes(bytes(8192))
    with probe.open("r+b") as file:
        able = holes.punch(file.fileno(), 0, 4096)
    os.sync()
    if not able or space(path) < MIB:
        pytest.skip("the file system of the tests has no holes")
    return path


@pytest.fixture
def loop_device(full):
    made = subprocess.run(
        ["losetup", "--find", "--show", full], capture_output=True, text=True, check=False
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


@pytest.mark.parametrize("direct", [False, True])
def test_a_block_device_serves_like_a_file(loop_device, full, direct):
    disk = opened(loop_device, direct=direct)
    assert disk.size == MIB
    assert disk.abilities == Ability.DISCARD | Ability.WRITE_ZEROES
    disk.write(1024, memoryview(b"y" * 512))
    disk.discard(64 << 10, 128 << 10)
    disk.write_zeroes(512 << 10, 128 << 10, True)
    disk.write_zeroes(768 << 10, 512, False)
    disk.flush()
    expected = bytearray(b"x" * MIB)
    expected[1024:1536] = b"y" * 512
    expected[64 << 10 : 192 << 10] = bytes(128 << 10)  # a loop device's discards are zeros
    expected[512 << 10 : 640 << 10] = bytes(128 << 10)
    expected[768 << 10 : (768 << 10) + 512] = bytes(512)
    assert content(disk) == expected
    disk.close()
    assert full.read_bytes() == expected
    assert space(full) <= MIB - (256 << 10) + 8192
    if not direct:
        assert FileBlock.content(FileBlock.Options(Path(loop_device))).startswith("device 7:")


def test_what_is_discarded_is_a_hole(full):
    disk = opened(full)
    disk.discard(64 << 10, 128 << 10)
    disk.discard(512, 512)  # no whole block: nothing to gain, and nothing lost around it
    after = full.read_bytes()
    assert space(full) <= MIB - (128 << 10)
    assert after[64 << 10 : 192 << 10] == bytes(128 << 10)
    assert after[:512] + after[1024 : 64 << 10] + after[192 << 10 :] == b"x" * (
        MIB - (128 << 10) - 512
    )
    disk.close()


@pytest.mark.parametrize(("discard", "unmap"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_zeros_leave_a_hole_only_where_that_is_wanted(full, discard, unmap):
    disk = opened(full, discard=bool(discard))
    disk.write_zeroes(64 << 10, 128 << 10, bool(unmap))
    disk.write_zeroes(512, 512, bool(unmap))
    expected = b"x" * 512 + bytes(512) + b"x" * (63 << 10) + bytes(128 << 10)
    assert full.read_bytes() == expected.ljust(MIB, b"x")
    assert (space(full) < MIB) == (discard and unmap)
    assert (Ability.DISCARD in disk.abilities) == discard
    disk.close()


@pytest.mark.parametrize("unmap", [False, True])
def test_zeros_are_written_where_the_file_system_has_nothing_better(image, unmap, monkeypatch):
    for name in ("punch", "zero"):
        monkeypatch.setattr(holes, name, lambda *_: False)
    disk = opened(image)
    before = image.read_bytes()
    disk.discard(0, 512)
    assert image.read_bytes() == before
    disk.write_zeroes(512, 1024, unmap)
    assert image.read_bytes() == before[:512] + bytes(1024) + before[1536:]
    disk.close()


def test_a_readonly_disk_can_do_nothing_besides(image):
    disk = opened(image, readonly=True)
    assert disk.abilities == Ability.NONE
    for act in (lambda: disk.discard(0, 512), lambda: disk.write_zeroes(0, 512, True)):
        with pytest.raises(MediumError):
            act()
    disk.close()


def test_the_content_of_two_names_of_a_file_is_one(image, tmp_path):
    os.link(image, tmp_path / "other")
    other = tmp_path / "third"
    other.write_bytes(image.read_bytes())
    of = [FileBlock.content(FileBlock.Options(p)) for p in (image, tmp_path / "other", other)]
    assert of[0] == of[1] != of[2]
    assert FileBlock.content(FileBlock.Options(tmp_path / "missing")) == ""
    assert FileBlock.claims(FileBlock.Options(image)) == (Claim(image, True),)


def test_a_serial_number_can_be_given(image):
    disk = opened(image, serial="WD-1234")
    assert disk.identity == "WD-1234"
    disk.close()
    for wrong in ("x" * 21, "\u00e4"):
        with pytest.raises(ValueError, match="not at most 20 ASCII characters"):
            opened(image, serial=wrong)


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


def test_a_file_without_a_size_is_refused():
    with pytest.raises(DriverError, match="disk /proc/self/mem has no size: name a file"):
        opened("/proc/self/mem")


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
