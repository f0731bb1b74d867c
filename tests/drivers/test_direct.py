import mmap
import os
import random
import subprocess

import pytest

from drivers.block_file import FileBlock
from drivers.direct import Direct, alignment
from drivers.interface import DriverError, MediumError

SIZE = 4 << 20


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
    except OSError:
        pytest.skip("the file system of the tests has no O_DIRECT")
    return path


@pytest.fixture
def without(tmp_path):
    """A folder on a file system that knows no O_DIRECT."""
    folder = tmp_path / "ram"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "ramfs", "none", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(params=[512, 4096, 65536])
def direct(image, request):
    """With blocks as large as the file system's, or larger ones, which suit it too."""
    fd = os.open(image, os.O_RDWR | os.O_DIRECT)
    if request.param % alignment(fd):
        os.close(fd)
        pytest.skip("the file system of the tests needs larger blocks")
    yield Direct(fd, request.param)
    os.close(fd)


def test_any_sectors_are_read_and_written_whatever_memory_they_are_in(image, direct):
    expected = bytearray(image.read_bytes())
    pick = random.Random(7)
    memory = memoryview(mmap.mmap(-1, SIZE))
    for _ in range(150):
        start = pick.randrange(SIZE // 512) * 512
        length = min(pick.choice([512, 1024, 4096, 69632, 2 << 20]), SIZE - start)
        at = pick.choice([0, 4096, 64, 1]) if length < SIZE // 2 else 0
        piece = memory[at : at + length]
        if pick.random() < 0.5:
            piece[:] = expected[start : start + length] = pick.randbytes(length)
            direct.write(start, piece)
        else:
            direct.read(start, piece)
            assert piece == expected[start : start + length]
    assert image.read_bytes() == expected


def test_memory_that_cannot_be_written_to_can_be_written_from(image, direct):
    direct.write(512, memoryview(b"abcd" * 1024))
    assert image.read_bytes()[512:4608] == b"abcd" * 1024


def test_a_file_that_ends_too_soon_is_a_medium_error(image, direct):
    os.truncate(image, SIZE // 2)
    for start, length in ((SIZE // 2, 65536), (SIZE // 2 - 65536, 131072), (SIZE - 512, 512)):
        with pytest.raises(MediumError):
            direct.read(start, memoryview(bytearray(length)))


def test_a_file_whose_end_is_no_whole_block_is_refused_with_the_cure(image):
    options = FileBlock.Options(image, direct=True)
    disk = FileBlock(options)
    block = disk.block_size
    os.truncate(image, SIZE - 512)
    if block > 512:
        with pytest.raises(DriverError, match=f"not a multiple of {block}: .* -s {SIZE} "):
            disk.begin()
    os.truncate(image, SIZE + block)
    disk.begin()
    assert disk.size == SIZE + block
    disk.close()


def test_a_file_system_that_cannot_is_said(without):
    path = without / "disk.img"
    path.write_bytes(bytes(4096))
    FileBlock(FileBlock.Options(path)).close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DriverError, match=r"disk.img cannot be used without the page cache"):
        FileBlock(FileBlock.Options(path, direct=True))
    assert os.listdir("/proc/self/fd") == before
