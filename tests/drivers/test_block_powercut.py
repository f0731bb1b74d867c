import os
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.block_powercut import PowercutBlock
from drivers.interface import Claim, DriverError

SECTORS = 16
SIZE = SECTORS * 512


def opened(path):
    return PowercutBlock(PowercutBlock.Options(Path(path)))


def begun(path):
    disk = opened(path)
    disk.begin()
    return disk


def content(disk):
    into = bytearray(SIZE)
    disk.read(0, memoryview(into))
    return bytes(into)


def write(disk, sector, data):
    disk.write(sector * 512, memoryview(data))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.fixture
def log(image):
    return Path(f"{image}.log")


def test_a_write_is_a_record_of_the_log_and_not_in_the_image(image, log):
    disk = begun(image)
    assert (disk.size, disk.readonly, disk.identity) == (SIZE, False, "disk.img")
    data = b"ab" * 512
    write(disk, 3, data)
    assert image.read_bytes() == bytes(SIZE)
    header = struct.pack("<8sQQIIQ", b"SVPCLOG1", 0, 1536, 1024, zlib.crc32(data), 0)
    assert log.read_bytes() == header + data
    assert content(disk)[1536:2560] == data
    write(disk, 4, b"c" * 512)
    assert struct.unpack_from("<Q", log.read_bytes(), 40 + 1024 + 8) == (1,)
    assert content(disk)[1536:2560] == data[:512] + b"c" * 512


def test_a_flush_moves_the_log_into_the_image_makes_it_durable_and_empties_the_log(
    image, log, monkeypatch
):
    steps = []
    disk = begun(image)
    real = os.fdatasync
    monkeypatch.setattr(
        os, "fdatasync", lambda fd: (steps.append((image.read_bytes()[:1], log.stat())), real(fd))
    )
    write(disk, 0, b"x" * 512)
    write(disk, 0, b"y" * 512)
    disk.flush()
    ((first, at_sync),) = steps
    assert (first, at_sync.st_size > 0) == (b"y", True)
    assert log.read_bytes() == b""
    assert image.read_bytes() == content(disk) == b"y" * 512 + bytes(SIZE - 512)
    write(disk, 1, b"z" * 512)
    assert struct.unpack_from("<Q", log.read_bytes(), 8) == (0,)


actions = st.one_of(
    st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 4)),
    st.just("flush"),
    st.just("die"),
    st.just("close"),
)


@given(st.lists(actions, max_size=30))
def test_it_reads_what_was_written_last_whoever_died(todo):
    with TemporaryDirectory(dir="/dev/shm") as folder:  # some thousand flushes, of which none waits
        play(Path(folder) / "disk.img", todo)


def play(path, todo):
    path.write_bytes(bytes(SIZE))
    disk, expected, flushed = begun(path), bytearray(SIZE), bytearray(SIZE)
    fds = [disk]
    for number, action in enumerate(todo, 1):
        if action == "flush":
            disk.flush()
            flushed[:] = expected
        elif action in ("die", "close"):
            if action == "close":
                fds.remove(disk)
                disk.close()
                flushed[:] = expected
            disk = begun(path)
            fds.append(disk)
        else:
            sector, count = action[0], min(action[1], SECTORS - action[0])
            data = bytes([number]) * count * 512
            write(disk, sector, data)
            expected[sector * 512 : sector * 512 + len(data)] = data
        assert content(disk) == expected
        assert path.read_bytes() == flushed
    for other in fds:
        os.close(other._fd)
        os.close(other._base._fd)


@pytest.mark.parametrize("left", [0, 20, 40, 300, 551])
def test_a_record_that_is_not_whole_never_happened(image, log, left):
    disk = begun(image)
    write(disk, 0, b"a" * 512)
    whole = log.read_bytes()
    write(disk, 0, b"b" * 512)
    os.truncate(log, len(whole) + left)
    heir = begun(image)
    assert content(heir)[:512] == b"a" * 512
    assert log.read_bytes() == whole
    write(heir, 1, b"c" * 512)
    assert content(begun(image))[:1024] == b"a" * 512 + b"c" * 512


def test_a_record_whose_data_is_wrong_never_happened(image, log):
    write(begun(image), 0, b"a" * 512)
    log.write_bytes(log.read_bytes()[:-1] + b"b")
    assert content(begun(image)) == bytes(SIZE)


def test_dying_in_the_middle_of_a_flush_loses_nothing(image, log, monkeypatch):
    disk = begun(image)
    write(disk, 0, b"a" * 512)
    write(disk, 5, b"b" * 512)

    def die(fd):
        raise SystemExit

    monkeypatch.setattr(os, "fdatasync", die)
    with pytest.raises(SystemExit):
        disk.flush()
    monkeypatch.undo()
    heir = begun(image)
    expected = content(heir)
    assert (expected[:1], expected[5 * 512 : 5 * 512 + 1]) == (b"a", b"b")
    heir.flush()
    assert image.read_bytes() == expected


def test_standing_by_it_touches_nothing_and_begins_with_what_is_there_then(image, log):
    standby = opened(image)
    assert not log.exists()
    active = begun(image)
    write(active, 0, b"a" * 512)
    active.flush()
    write(active, 1, b"b" * 512)
    standby.begin()
    assert content(standby)[:1024] == b"a" * 512 + b"b" * 512
    before = log.read_bytes()
    opened(image).close()
    assert log.read_bytes() == before != b""


def test_it_claims_both_files(image, log):
    options = PowercutBlock.Options(image)
    claims = [Claim(image, exclusive=True), Claim(log, exclusive=True)]
    assert list(PowercutBlock.claims(options)) == claims


def test_a_log_that_cannot_be_opened_is_said(image, log):
    log.mkdir()
    disk = opened(image)
    with pytest.raises(DriverError, match=r"disk.img.log cannot be opened: Is a directory"):
        disk.begin()
    disk.close()
