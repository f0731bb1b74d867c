"""Copies of real files that are written meanwhile, whose targets fail, and whose process dies."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from drivers.interface import Ability, DriverError, Keep, MediumError
from drivers.registry import claims, content, make

SIZE = (6 << 20) + 512
MIB = 1 << 20
PATIENCE = 60.0


@pytest.fixture
def place(tmp_path):
    data = bytearray(random.Random(5).randbytes(SIZE))
    data[2 * MIB : 4 * MIB] = bytes(2 * MIB)
    (tmp_path / "old.img").write_bytes(data)
    (tmp_path / "new.img").write_bytes(b"x" * SIZE)
    return tmp_path


def target(place, faults=""):
    disk = f"file:path={place}/new.img"
    if not faults:
        return disk
    (place / "script").write_text(faults)
    return f"faulty:script={place}/script,child=({disk})"


def opened(place, faults="", more=""):
    spec = f"migrate:source=(file:path={place}/old.img),target=({target(place, faults)}){more}"
    return make("block", spec, Keep(place / "keep"))


def pivot(place, faults=""):
    disk = make("block", f"pivot:child=({target(place, faults)})", Keep(place / "keep"))
    disk.begin()
    return disk


def until(look):
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end
        time.sleep(0.001)


def finished(disk):
    until(lambda: disk.progress().complete or disk.progress().problem)
    return disk.progress()


def same(place):
    return (place / "old.img").read_bytes() == (place / "new.img").read_bytes()[:SIZE]


def get(disk, offset, length):
    into = memoryview(bytearray(length))
    disk.read(offset, into)
    return bytes(into)


def test_the_target_becomes_what_the_source_is_with_its_holes(place):
    disk = opened(place)
    assert disk.size == SIZE
    assert not same(place)
    disk.begin()
    progress = finished(disk)
    assert (progress.done, progress.total, progress.problem) == (SIZE, SIZE, "")
    disk.close()
    assert same(place)
    assert os.stat(place / "new.img").st_blocks * 512 < SIZE - MIB


def test_until_it_begins_nothing_is_changed(place):
    disk = opened(place)
    disk.close()
    assert (place / "new.img").read_bytes() == b"x" * SIZE
    with pytest.raises(DriverError, match="is not complete: wait until it is"):
        pivot(place)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_meanwhile_is_on_both(place, seed):
    dice = random.Random(seed)
    disk = opened(place)
    expected = bytearray((place / "old.img").read_bytes())
    disk.begin()
    steps = 0
    while not (disk.progress().complete and steps > 300):
        steps += 1
        length = 512 * dice.randint(1, 4096 if dice.random() < 0.1 else 16)
        offset = 512 * dice.randint(0, (SIZE - length) // 512)
        what = dice.choice(("write", "write", "zeroes", "discard", "read", "flush"))
        if what == "write":
            data = dice.randbytes(length)
            disk.write(offset, memoryview(data))
        elif what == "zeroes":
            data = bytes(length)
            disk.write_zeroes(offset, length, unmap=dice.random() < 0.5)
        elif what == "discard":
            disk.discard(offset, length)
            data = get(disk, offset, length)
        else:
            disk.flush()
            data = get(disk, offset, length)
            assert data == expected[offset : offset + length]
        expected[offset : offset + length] = data
    disk.close()
    assert (place / "old.img").read_bytes() == expected
    assert same(place)


def test_a_complete_copy_is_served_by_pivot_and_others_are_not(place):
    disk = opened(place)
    disk.begin()
    finished(disk)
    disk.write(0, memoryview(b"a" * 512))
    disk.close()
    other = pivot(place)
    assert get(other, 0, 512) == b"a" * 512
    other.write(0, memoryview(b"b" * 512))
    other.close()
    pivot(place).close()  # the next incarnation
    (place / "other.img").write_bytes(bytes(SIZE))
    stranger = make("block", f"pivot:child=(file:path={place}/other.img)", Keep(place / "keep"))
    with pytest.raises(DriverError, match=r"copy to file:path=.*other.img is not complete"):
        stranger.begin()
    stranger.close()


def test_each_incarnation_that_begins_takes_the_mark_away(place):
    disk = opened(place)
    disk.begin()
    finished(disk)
    disk.close()
    again = opened(place, more=",rate=1")
    again.begin()
    with pytest.raises(DriverError, match="is not complete"):
        pivot(place)
    assert not again.progress().complete
    again.close()
    with pytest.raises(DriverError, match="is not complete"):
        pivot(place)


def test_a_target_that_fails_is_given_up_and_the_guest_not_told(place):
    disk = opened(place, "write 3 error")
    disk.begin()
    progress = finished(disk)
    assert "target, at byte" in progress.problem
    assert "write 3 was to fail" in progress.problem
    disk.write(0, memoryview(b"a" * 512))
    disk.flush()
    assert get(disk, 0, 512) == b"a" * 512
    disk.close()
    with pytest.raises(DriverError, match="is not complete"):
        pivot(place, "write 3 error")


def test_a_host_that_has_no_room_for_the_target_ends_the_copy(place):
    (place / "old.img").write_bytes(b"o" * SIZE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))  # as far as a file may be written
    try:
        disk = opened(place)
        disk.begin()
        progress = finished(disk)
        assert get(disk, SIZE - 512, 512) == b"o" * 512
        disk.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert progress.problem.startswith("target, at byte ")
    assert "raise the limit on the size of files" in progress.problem


def test_a_write_that_fails_after_the_copy_undoes_its_completeness(place):
    faults = "write 60 error"
    disk = opened(place, faults)
    disk.begin()
    assert finished(disk).complete
    while not disk.progress().problem:
        disk.write(512, memoryview(b"a" * 512))
    assert not disk.progress().complete
    disk.close()
    with pytest.raises(DriverError, match="is not complete"):
        pivot(place, faults)


def test_a_flush_that_fails_after_the_copy_undoes_its_completeness(place):
    faults = "flush 3 error"
    disk = opened(place, faults)
    disk.begin()
    assert finished(disk).complete
    disk.flush()
    assert "flush 3 was to fail" in disk.progress().problem
    disk.close()
    with pytest.raises(DriverError, match="is not complete"):
        pivot(place, faults)


def test_an_unreadable_source_is_the_guests_error_and_the_end_of_the_copy(place):
    (place / "source").write_text("read 1 error\nread 2 error")
    spec = (
        f"migrate:source=(faulty:script={place}/source,child=(file:path={place}/old.img)),"
        f"target=({target(place)})"
    )
    disk = make("block", spec, Keep(place / "keep"))
    disk.begin()
    until(lambda: disk.progress().problem)
    assert disk.progress().problem.startswith("source, at byte 0: read 1")
    with pytest.raises(MediumError, match="read 2"):
        get(disk, 0, 512)
    disk.close()


def test_a_write_torn_on_the_source_is_torn_alike_on_the_target(place):
    (place / "source").write_text("write 1 torn 512")
    spec = (
        f"migrate:source=(faulty:script={place}/source,child=(file:path={place}/old.img)),"
        f"target=({target(place)})"
    )
    disk = make("block", spec, Keep(place / "keep"))
    disk.begin()
    assert finished(disk).complete
    with pytest.raises(MediumError, match="torn"):
        disk.write(0, memoryview(b"t" * 2048))
    disk.close()
    assert (place / "new.img").read_bytes()[:512] == b"t" * 512
    assert same(place)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda place: os.truncate(place / "new.img", SIZE - 512), "at least as large"),
        (lambda place: (place / "new.img").unlink(), "does not exist"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused_in_one_line(place, change, problem):
    change(place)
    with pytest.raises(DriverError, match=problem) as raised:
        opened(place)
    assert "\n" not in str(raised.value)


def test_a_target_that_keeps_nothing_is_refused(place):
    with pytest.raises(DriverError, match="target of a copy keeps nothing: name a disk that does"):
        make(
            "block",
            f"migrate:source=(file:path={place}/old.img),"
            "target=(throttle:iops=9,child=(null:size=64M))",
            Keep(place / "keep"),
        )


def test_readonly_disks_are_refused(place):
    with pytest.raises(DriverError, match="target of a copy is read-only: leave readonly out"):
        make(
            "block",
            f"migrate:source=(file:path={place}/old.img),"
            f"target=(file:path={place}/new.img,readonly)",
            Keep(place / "keep"),
        )
    with pytest.raises(DriverError, match="source of a copy is read-only"):
        make(
            "block",
            f"migrate:source=(file:path={place}/old.img,readonly),"
            f"target=(file:path={place}/new.img)",
            Keep(place / "keep"),
        )


def test_a_larger_target_keeps_what_it_has_beyond(place):
    with (place / "new.img").open("ab") as file:
        file.write(b"y" * 1024)
    disk = opened(place)
    assert disk.size == SIZE
    disk.begin()
    finished(disk)
    disk.close()
    assert same(place)
    assert (place / "new.img").read_bytes()[SIZE:] == b"y" * 1024


def test_a_target_that_cannot_zero_gets_zeros_written(place):
    spec = (
        f"migrate:source=(file:path={place}/old.img),target=(file:path={place}/new.img,discard=off)"
    )
    disk = make("block", spec, Keep(place / "keep"))
    disk._pair.target.abilities = Ability.NONE
    disk.begin()
    finished(disk)
    disk.close()
    assert same(place)


def test_a_rate_is_kept(place):
    disk = opened(place, more=",rate=20M")
    began = time.monotonic()
    disk.begin()
    finished(disk)
    assert time.monotonic() - began >= (SIZE - MIB) / (20 << 20) - 0.1
    disk.close()


def test_it_ends_at_once_in_the_middle(place):
    disk = opened(place, more=",rate=1")
    disk.begin()
    until(lambda: disk.progress().done)
    disk.close()
    assert "copy" not in {thread.name for thread in threading.enumerate()}


def test_its_content_is_the_sources_and_it_claims_both(place):
    spec = f"migrate:source=(file:path={place}/old.img),target=(file:path={place}/new.img)"
    assert content("block", spec) == content("block", f"file:path={place}/old.img")
    assert [claim.path.name for claim in claims("block", spec)] == ["old.img", "new.img"]
    other = f"pivot:child=(file:path={place}/new.img)"
    assert content("block", other) == content("block", f"file:path={place}/new.img")


CHILD = """
import random, sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
spec = f"migrate:source=(file:path={folder}/old.img),target=(file:path={folder}/new.img)"
disk = make("block", spec, Keep(folder / "keep"))
disk.begin()
dice = random.Random(seed)
while True:
    offset, data = 512 * dice.randrange(SIZE // 512), dice.randbytes(512)
    print(offset, data.hex(), flush=True)
    disk.write(offset, memoryview(data))
    print("done", disk.progress().done, int(disk.progress().complete), flush=True)
""".replace("SIZE", str(SIZE))


@pytest.mark.parametrize("lines", [1, 2, 9, 40, 301])
def test_killed_at_any_time_nothing_is_lost_and_the_copy_starts_over(place, lines):
    expected = bytearray((place / "old.img").read_bytes())
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, place, str(lines)], stdout=subprocess.PIPE, text=True
    )
    last = None
    with child.stdout as said:
        for _ in range(lines):
            line = said.readline().split()
            if line[0] == "done":
                expected[last[0] : last[0] + 512] = last[1]
            else:
                last = int(line[0]), bytes.fromhex(line[1])
        child.send_signal(signal.SIGKILL)
        for line in map(str.split, said.read().splitlines(keepends=True)):
            if line[0] == "done":
                expected[last[0] : last[0] + 512] = last[1]
            elif len(line) == 2 and len(line[1]) == 1024:
                last = int(line[0]), bytes.fromhex(line[1])
    child.wait()
    disk = opened(place)
    disk.begin()
    disk.write(last[0], memoryview(last[1]))  # the core replays it
    expected[last[0] : last[0] + 512] = last[1]
    assert finished(disk).complete
    disk.close()
    assert (place / "old.img").read_bytes() == expected
    assert same(place)
