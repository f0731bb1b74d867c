import os
import random

import pytest

from drivers import overlay_offline
from drivers.interface import DriverError, Keep, MediumError
from drivers.registry import content, make

CLUSTER = 4096
SIZE = 16 * CLUSTER + 512
BASE = random.Random(4).randbytes(SIZE)
DATA = random.Random(5).randbytes(3 * CLUSTER)


@pytest.fixture
def top(tmp_path):
    """A top file with four clusters in it, one of them zeros."""
    (tmp_path / "a.img").write_bytes(BASE)
    disk = overlay(tmp_path)
    disk.write(CLUSTER, memoryview(DATA))
    disk.write_zeroes(16 * CLUSTER, 512, True)
    disk.flush()
    disk.close()
    return tmp_path / "a.top"


def overlay(folder, more=""):
    base = f"(file:path={folder}/a.img,readonly)"
    disk = make(
        "block", f"overlay:base={base},path={folder}/a.top,cluster=4K{more}", Keep(folder / "k")
    )
    disk.begin()
    return disk


def opened(top, more=""):
    spec = f"file:path={top.parent}/a.img{more}"
    return make("block", spec, Keep(top.parent / "k")), content("block", spec)


def expected():
    return BASE[:CLUSTER] + DATA + BASE[4 * CLUSTER : -512] + bytes(512)


def everything(disk):
    into = memoryview(bytearray(disk.size))
    disk.read(0, into)
    disk.close()
    return bytes(into)


def test_info_tells_what_is_in_it(top):
    found = overlay_offline.info(top)
    assert (found.header.size, found.header.base_size, found.header.cluster) == (
        *(SIZE, SIZE),
        CLUSTER,
    )
    assert (found.present, found.header.clusters) == (4, 17)


def test_a_commit_puts_it_into_the_base_and_takes_the_top_away(top):
    base, word = opened(top)
    seen = []
    assert overlay_offline.commit(top, base, word, lambda *of: seen.append(of)) == 4
    base.close()
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (top.parent / "a.img").read_bytes() == expected()
    assert not top.exists()
    assert everything(overlay(top.parent)) == expected()


@pytest.mark.parametrize("dies_at", range(6))
def test_a_commit_that_died_is_done_again(top, dies_at):
    base, word = opened(top)
    left = dies_at

    class Mortal:
        def __getattr__(self, name):
            return getattr(base, name)

        def step(self, name, *arguments, **named):
            nonlocal left
            if not left:
                raise MediumError("the disk died")
            left -= 1
            getattr(base, name)(*arguments, **named)

        def write(self, *arguments):
            self.step("write", *arguments)

        def write_zeroes(self, *arguments, **named):
            self.step("write_zeroes", *arguments, **named)

        def flush(self):
            self.step("flush")

    if dies_at < 5:  # four clusters and a flush
        with pytest.raises(MediumError):
            overlay_offline.commit(top, Mortal(), word)
        assert everything(overlay(top.parent)) == expected()
    overlay_offline.commit(top, base, word)
    base.close()
    assert (top.parent / "a.img").read_bytes() == expected()


def test_a_larger_disk_needs_a_larger_base(top):
    top.unlink()
    size = SIZE + 3 * CLUSTER
    disk = overlay(top.parent, f",size={size}")
    disk.write(SIZE + CLUSTER, memoryview(b"x" * 512))
    disk.close()
    base, word = opened(top)
    with pytest.raises(DriverError, match=f"make the base so large first, as 'truncate -s {size}'"):
        overlay_offline.commit(top, base, word)
    base.close()
    os.truncate(top.parent / "a.img", size)
    base, word = opened(top)
    overlay_offline.commit(top, base, word)
    base.close()
    found = (top.parent / "a.img").read_bytes()
    assert found == BASE + bytes(CLUSTER) + b"x" * 512 + bytes(2 * CLUSTER - 512)


def test_a_discard_takes_the_top_away(top):
    assert overlay_offline.discard(top) == 4
    assert everything(overlay(top.parent)) == BASE


def test_nothing_is_done_to_one_that_is_in_use(top):
    disk = overlay(top.parent)
    base, word = opened(top)
    for call in (
        lambda: overlay_offline.info(top),
        lambda: overlay_offline.commit(top, base, word),
        lambda: overlay_offline.discard(top),
        lambda: overlay_offline.rebase(top, word, SIZE),
    ):
        with pytest.raises(DriverError, match="in use: stop the machine"):
            call()
    base.close()
    assert everything(disk) == expected()
    assert (top.parent / "a.img").read_bytes() == BASE


def test_a_base_that_is_read_only_or_another_is_refused(top):
    base, word = opened(top, ",readonly")
    with pytest.raises(DriverError, match="is read-only: leave readonly out"):
        overlay_offline.commit(top, base, word)
    base.close()
    base, _ = opened(top)
    with pytest.raises(DriverError, match=r"was made over .*, not over 'other': name"):
        overlay_offline.commit(top, base, "other")
    base.close()
    os.truncate(top.parent / "a.img", SIZE + 512)
    base, word = opened(top)
    with pytest.raises(DriverError, match=f"over a base of {SIZE} bytes, not {SIZE + 512}"):
        overlay_offline.commit(top, base, word)
    base.close()


def test_a_base_that_was_moved_is_taken_after_a_rebase(top):
    image = top.parent / "a.img"
    image.rename(top.parent / "b.img")  # which keeps the inode, so that the copy has another one
    image.write_bytes(BASE)
    with pytest.raises(DriverError, match="splitvisor overlay rebase TOP BASE"):
        overlay(top.parent)
    _, word = opened(top)
    overlay_offline.rebase(top, word, SIZE)
    assert everything(overlay(top.parent)) == expected()
    with pytest.raises(DriverError, match=f"is of a disk of {SIZE} bytes, and the base has"):
        overlay_offline.rebase(top, word, SIZE + 512)


def test_one_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DriverError, match=r"a.top does not exist: name one that does"):
        overlay_offline.info(tmp_path / "a.top")
