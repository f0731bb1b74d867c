import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drivers import holes, overlay_offline, overlay_top
from drivers.interface import Ability, Claim, DriverError, Keep, MediumError, SpecError
from drivers.overlay_format import PAGE, Header
from drivers.registry import check, claims, content, make

CLUSTER = 4096
SIZE = 20 * CLUSTER + 1536  # the last cluster is cut off
BASE = random.Random(3).randbytes(SIZE)
SECTORS = SIZE // 512


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.img").write_bytes(BASE)
    return tmp_path


def spec(folder, more="cluster=4K"):
    return f"overlay:base=(file:path={folder}/a.img,readonly),path={folder}/a.top,{more}"


def opened(folder, more="cluster=4K"):
    disk = make("block", spec(folder, more), Keep(folder / "keep"))
    try:
        disk.begin()
    except BaseException:
        disk.close()
        raise
    return disk


def read(disk, offset=0, size=None):
    into = memoryview(bytearray(disk.size if size is None else size))
    disk.read(offset, into)
    return bytes(into)


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new) :]


def test_writes_go_to_the_top_and_the_base_stays(folder):
    disk = opened(folder)
    assert (disk.size, disk.readonly, disk.identity) == (SIZE, False, "a.top")
    assert read(disk) == BASE
    disk.write(512, memoryview(b"x" * 512))
    disk.write(3 * CLUSTER - 1024, memoryview(b"y" * (2 * CLUSTER)))
    disk.write(SIZE - 512, memoryview(b"z" * 512))
    expected = patched(BASE, 512, b"x" * 512)
    expected = patched(expected, 3 * CLUSTER - 1024, b"y" * (2 * CLUSTER))
    expected = patched(expected, SIZE - 512, b"z" * 512)
    assert read(disk) == expected
    disk.flush()
    disk.close()
    heir = opened(folder)
    assert read(heir) == expected
    heir.close()
    assert (folder / "a.img").read_bytes() == BASE


def test_only_what_was_written_takes_room(folder):
    os.truncate(folder / "a.img", 1 << 30)
    disk = opened(folder, "cluster=64K")
    disk.write(0, memoryview(b"x" * 65536))
    disk.write(1 << 29, memoryview(b"x" * 512))
    disk.flush()
    assert (folder / "a.top").stat().st_blocks * 512 < 1 << 20
    disk.close()


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["write", "zeroes", "unmap", "discard"]),
            st.integers(0, SECTORS - 1),
            st.integers(1, 40),
        ),
        st.sampled_from(["die", "flush"]),
    ),
    max_size=25,
)


def do(disk, step, number):
    """Do it; offset and what must be there now, None where old bytes or zeros may be."""
    kind, sector, count = step
    offset, length = sector * 512, min(count, SECTORS - sector) * 512
    data = bytes([number % 250 + 1]) * length
    if kind == "write":
        disk.write(offset, memoryview(data))
        return offset, length, data
    if kind == "discard":
        disk.discard(offset, length)
        return offset, length, None
    disk.write_zeroes(offset, length, kind == "unmap")
    return offset, length, bytes(length)


unhurried = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)


@unhurried
@given(steps)
def test_it_reads_what_was_written_last_whoever_died(tmp_path_factory, todo):
    folder = tmp_path_factory.mktemp("disk")
    (folder / "a.img").write_bytes(BASE)
    disk, expected = opened(folder), BASE
    for number, step in enumerate(todo):
        if step == "flush":
            disk.flush()
        elif step == "die":
            disk.close()  # which does nothing that a death would not
            disk = opened(folder)
        else:
            offset, length, new = do(disk, step, number)
            found = read(disk, offset, length)
            if new is None:
                for at in range(0, length, 512):
                    old = expected[offset + at : offset + at + 512]
                    assert found[at : at + 512] in (bytes(512), old)
            expected = patched(expected, offset, found if new is None else new)
        assert read(disk) == expected
    disk.close()
    assert (folder / "a.img").read_bytes() == BASE


class Recorder:
    """Does what it is told to a file, and can tell what is there if the power goes: any part of
    what was done since the last flush may be missing, sector by sector.
    """

    def __init__(self, monkeypatch):
        self.durable, self.later = b"", []
        self.syncs_left = 1 << 30
        write, punch, sync = overlay_top.write_all, holes.punch, os.fdatasync

        def write_all(fd, offset, data):
            self.later.append((offset, bytes(data)))
            write(fd, offset, data)

        def zero(fd, offset, length):
            self.later.append((offset, bytes(length)))
            return punch(fd, offset, length)

        def fdatasync(fd):
            if not self.syncs_left:
                raise OSError(5, "the power is gone")
            self.syncs_left -= 1
            sync(fd)
            self.durable = os.pread(fd, os.fstat(fd).st_size, 0)
            self.later.clear()

        monkeypatch.setattr(overlay_top, "write_all", write_all)
        monkeypatch.setattr(holes, "punch", zero)
        monkeypatch.setattr(holes, "zero", zero)
        monkeypatch.setattr(os, "fdatasync", fdatasync)

    def cut(self, path, chance):
        disk = bytearray(self.durable)
        for offset, data in self.later:
            for at in range(offset - offset % 512, offset + len(data), 512):
                if chance.random() < 0.5:
                    start, stop = max(at, offset), min(at + 512, offset + len(data))
                    disk[start:stop] = data[start - offset : stop - offset]
        path.write_bytes(disk)


@unhurried
@given(steps, st.integers(0, 1 << 32), st.sampled_from([None, 0, 1]))
@example([("write", 0, 20)], 0, 0)
def test_a_power_cut_takes_nothing_that_was_flushed(tmp_path_factory, todo, seed, syncs_left):
    folder = tmp_path_factory.mktemp("disk")
    (folder / "a.img").write_bytes(BASE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        boot = folder / "boot"
        boot.write_bytes(b"1")
        monkeypatch.setattr(overlay_top, "_BOOT", boot)
        opened(folder).close()
        recorder = Recorder(monkeypatch)
        recorder.durable = (folder / "a.top").read_bytes()
        disk = opened(folder)
        may_be = [{BASE[at : at + 512]} for at in range(0, SIZE, 512)]
        for number, step in enumerate(todo):
            if step == "die":
                disk.close()
                disk = opened(folder)
            elif step == "flush":
                disk.flush()
                may_be = [{sector} for sector in sectors(read(disk))]
            else:
                offset, length, _ = do(disk, step, number)
                for at, sector in enumerate(sectors(read(disk, offset, length)), offset // 512):
                    may_be[at].add(sector)
        if syncs_left is not None:
            recorder.syncs_left = syncs_left
            try:
                disk.flush()
                may_be = [{sector} for sector in sectors(read(disk))]
            except MediumError:
                pass
        disk.close()
    chance = random.Random(seed)
    for _ in range(4):  # which part of what was not flushed is left is up to chance
        recorder.cut(folder / "a.top", chance)
        heir = opened(folder)
        found = sectors(read(heir))
        heir.close()
        assert not [n for n in range(SECTORS) if found[n] not in may_be[n]]


def sectors(data):
    return [data[at : at + 512] for at in range(0, len(data), 512)]


def test_the_word_of_the_map_counts_only_in_the_boot_that_it_is_of(folder, monkeypatch):
    boot = folder / "boot"
    monkeypatch.setattr(overlay_top, "_BOOT", boot)
    boot.write_bytes(b"1")
    disk = opened(folder)
    disk.write(0, memoryview(b"x" * 512))
    disk.flush()
    disk.write(CLUSTER, memoryview(b"y" * 512))
    disk.close()
    boot.write_bytes(b"2")
    before = (folder / "a.top").read_bytes()
    disk = opened(folder, "readonly")
    assert read(disk) == patched(BASE, 0, b"x" * 512)
    disk.flush()
    disk.close()
    assert (folder / "a.top").read_bytes() == before
    disk = opened(folder)
    assert read(disk) == patched(BASE, 0, b"x" * 512)
    disk.close()


@pytest.mark.parametrize("dies_at", [0, 1])
def test_a_death_in_the_first_begin_of_a_boot_leaves_what_is_durable(folder, monkeypatch, dies_at):
    boot = folder / "boot"
    monkeypatch.setattr(overlay_top, "_BOOT", boot)
    boot.write_bytes(b"1")
    disk = opened(folder)
    disk.write(CLUSTER, memoryview(b"y" * 512))
    disk.close()
    boot.write_bytes(b"2")
    real, left = overlay_top.write_all, [dies_at]

    def dying(fd, offset, data):
        if not left[0]:
            raise SystemExit
        left[0] -= 1
        real(fd, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(overlay_top, "write_all", dying)
        disk = make("block", spec(folder), Keep(folder / "keep"))
        with pytest.raises(SystemExit):
            disk.begin()
        disk.close()
    disk = opened(folder)
    assert read(disk) == BASE
    disk.close()


CHILD = """
import os, signal, sys
from pathlib import Path
from drivers import holes, overlay_top
from drivers.interface import Keep
from drivers.registry import make

spec, when, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
left = when

def deadly(name, module):
    real = getattr(module, name)
    def call(fd, *arguments):
        global left
        left -= 1
        if not left and how == "half" and name == "write_all":
            real(fd, arguments[0], arguments[1][: len(arguments[1]) // 2 // 512 * 512])
        if not left and how != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(fd, *arguments)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, call)

deadly("write_all", overlay_top)
for name in ("punch", "zero"):
    deadly(name, holes)
for name in ("fsync", "fdatasync", "ftruncate"):
    deadly(name, os)
disk = make("block", spec, Keep(Path("/nonexistent")))
disk.begin()
number = 0
def done():
    global number
    os.write(1, bytes([number]))
    number += 1
done()
disk.write(1024, memoryview(b"a" * 1024)); done()
disk.write(3584, memoryview(b"b" * 5120)); done()
disk.write_zeroes(8192, 6144, True); done()
disk.flush(); done()
disk.write(0, memoryview(b"c" * 4096)); done()
disk.write_zeroes(20480, 4096, False); done()
disk.flush(); done()
disk.close()
os.write(1, b"!")
"""
DONE = [
    None,
    (1024, b"a" * 1024),
    (3584, b"b" * 5120),
    (8192, bytes(6144)),
    None,
    (0, b"c" * 4096),
    (20480, bytes(4096)),
    None,
]


@pytest.mark.parametrize("how", ["before", "half", "after"])
def test_one_that_is_killed_anywhere_leaves_what_the_next_one_serves(folder, how):
    text, moment = spec(folder), 0
    while True:
        moment += 1
        (folder / "a.top").unlink(missing_ok=True)
        command = [sys.executable, "-c", CHILD, text, str(moment), how]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
        if said.endswith(b"!"):
            break
        old = BASE
        for step in DONE[: len(said)]:
            old = patched(old, *step) if step else old
        step = DONE[len(said)] if len(said) < len(DONE) else None
        new = patched(old, *step) if step else old
        disk = opened(folder)
        found = read(disk)
        for was, is_, wanted in zip(sectors(old), sectors(found), sectors(new), strict=True):
            assert is_ in (was, wanted), f"{how} call {moment}"
        if step:
            disk.write(step[0], memoryview(step[1]))
        assert read(disk) == new
        disk.close()
    assert moment > 20
    assert (folder / "a.img").read_bytes() == BASE


def test_standing_by_it_makes_nothing_and_begins_with_what_is_there_then(folder):
    standby = make("block", spec(folder), Keep(folder / "keep"))
    assert sorted(path.name for path in folder.iterdir()) == ["a.img"]
    other = make("block", spec(folder), Keep(folder / "keep"))
    other.close()
    assert sorted(path.name for path in folder.iterdir()) == ["a.img"]
    active = opened(folder)
    late = make("block", spec(folder), Keep(folder / "keep"))
    active.write(0, memoryview(b"x" * 512))
    active.close()
    before = (folder / "a.top").read_bytes()
    late.close()
    assert (folder / "a.top").read_bytes() == before
    standby.begin()
    assert read(standby, 0, 512) == b"x" * 512
    standby.close()


def test_a_top_in_use_is_not_served_twice(folder):
    disk = opened(folder)
    with pytest.raises(DriverError, match=r"top .*a.top is in use: stop the machine"):
        opened(folder)
    disk.close()
    opened(folder).close()


def layered(folder, name):
    """An overlay over the overlay of `opened`."""
    base = spec(folder, "readonly")
    disk = make("block", f"overlay:base=({base}),path={folder}/{name}", Keep(folder / "keep"))
    disk.begin()
    return disk


def test_overlays_stand_on_an_overlay_that_may_not_be_written_to(folder):
    disk = opened(folder)
    disk.write(512, memoryview(b"x" * 512))
    disk.close()
    before = (folder / "a.top").read_bytes()
    one, other = layered(folder, "b.top"), layered(folder, "c.top")
    with pytest.raises(DriverError, match=r"top .*a.top is in use: stop the machine"):
        opened(folder)
    one.write(CLUSTER, memoryview(b"y" * 512))
    below = patched(BASE, 512, b"x" * 512)
    assert read(one) == patched(below, CLUSTER, b"y" * 512)
    assert read(other) == below
    one.flush()
    one.close()
    other.close()
    assert (folder / "a.top").read_bytes() == before
    disk = make("block", spec(folder), Keep(folder / "keep"))
    word = content("block", spec(folder))
    assert overlay_offline.commit(folder / "b.top", disk, word) == 1
    assert read(disk) == patched(below, CLUSTER, b"y" * 512)
    disk.close()


def test_one_that_may_not_be_written_to_makes_nothing(folder):
    with pytest.raises(DriverError, match=r"a.top does not exist: leave readonly out to make it"):
        opened(folder, "readonly")
    assert not (folder / "a.top").exists()


def test_a_disk_may_be_larger_than_its_base(folder):
    disk = opened(folder, f"cluster=4K,size={SIZE + 3 * CLUSTER}")
    disk.write(SIZE + CLUSTER, memoryview(b"x" * 512))
    expected = patched(BASE + bytes(3 * CLUSTER), SIZE + CLUSTER, b"x" * 512)
    assert read(disk) == expected
    disk.close()
    heir = opened(folder, "cluster=64K")  # an old top has its own sizes
    assert read(heir) == expected
    heir.close()
    with pytest.raises(DriverError, match=f"is of a disk of {SIZE + 3 * CLUSTER} bytes, not"):
        opened(folder, f"size={SIZE}")


def test_without_holes_zeros_are_written(folder, monkeypatch):
    monkeypatch.setattr(holes, "punch", lambda *_: False)
    monkeypatch.setattr(holes, "zero", lambda *_: False)
    disk = opened(folder)
    disk.write(512, memoryview(b"x" * 512))
    disk.discard(0, CLUSTER)
    assert read(disk) == patched(BASE, 512, b"x" * 512)
    disk.write_zeroes(0, 2 * CLUSTER + 512, True)
    assert read(disk) == patched(BASE, 0, bytes(2 * CLUSTER + 512))
    disk.close()


def test_a_full_disk_is_an_error_and_no_garbage(folder, monkeypatch):
    disk = opened(folder)
    real, left = overlay_top.write_all, [1]

    def full(fd, offset, data):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(fd, offset, data)

    monkeypatch.setattr(overlay_top, "write_all", full)
    with pytest.raises(MediumError, match="No space left on device: free some room"):
        disk.write(512, memoryview(b"x" * 512))
    monkeypatch.undo()
    assert read(disk) == BASE
    disk.close()


def test_what_it_says_of_itself(folder):
    options = spec(folder)
    top, base = folder / "a.top", folder / "a.img"
    assert list(claims("block", options)) == [Claim(top, True), Claim(base, False)]
    assert list(claims("block", f"{options},readonly")) == [Claim(top, False), Claim(base, False)]
    below = content("block", f"file:path={base}")
    assert content("block", options) == f"overlay({top},{below})"
    disk = opened(folder)
    assert Ability.DISCARD | Ability.WRITE_ZEROES in disk.abilities
    disk.close()
    disk = opened(folder, "readonly")
    assert (disk.readonly, disk.abilities) == (True, Ability.NONE)
    disk.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("cluster=5000", "cluster 5000 is not a power of two from 4K to 2M"),
        ("cluster=4M", "is not a power of two from 4K to 2M"),
        ("size=1000", "size 1000 is not a multiple of 512"),
    ],
)
def test_options_of_no_use_are_refused(folder, more, words):
    with pytest.raises(SpecError, match=words):
        check("block", spec(folder, more))


def test_a_base_that_may_be_written_to_is_refused(folder):
    with pytest.raises(DriverError, match="may be written to: name one that may not"):
        make("block", spec(folder).replace(",readonly", ""), Keep(folder / "keep"))


@pytest.mark.parametrize("more", ["size=17T", "size=8388607T,cluster=2M"])
def test_a_disk_of_too_many_clusters_is_refused_and_nothing_made(folder, more):
    with pytest.raises(DriverError, match=r"top .* clusters of .*: make the disk"):
        opened(folder, more)
    assert sorted(path.name for path in folder.iterdir()) == ["a.img"]


def test_a_size_below_that_of_the_base_is_refused(folder):
    with pytest.raises(DriverError, match=f"size 512 is less than the base .*: say {SIZE} or more"):
        opened(folder, "size=512")


def break_header(change):
    def change_file(folder):
        top = folder / "a.top"
        data = bytearray(top.read_bytes())
        change(data)
        top.write_bytes(data)

    return change_file


def set_byte(at, value):
    def change(data):
        data[at] = value

    return break_header(change)


def grown(folder):
    os.truncate(folder / "a.img", SIZE + 512)


def cut_off(folder):
    os.truncate(folder / "a.top", 8192)


def other_base(folder):
    header = Header(CLUSTER, SIZE, SIZE, "file 1:2")
    (folder / "a.top").unlink()
    overlay_top.make(folder / "a.top", header)


def a_folder(folder):
    (folder / "a.top").unlink()
    (folder / "a.top").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_byte(0, 0), "is no top of an overlay: name another file"),
        (set_byte(8, 9), "has version 9, not 1: use the splitvisor that made it"),
        (set_byte(PAGE - 5, 1), "has a header with wrong bytes: it is damaged"),
        (cut_off, "has 8192 bytes, not "),
        (grown, f"was made over a base of {SIZE} bytes, not {SIZE + 512}: name the right base"),
        (other_base, "was made over 'file 1:2', not over '.*splitvisor overlay rebase TOP BASE"),
        (a_folder, "cannot be opened: Is a directory"),
    ],
)
def test_a_top_that_does_not_belong_here_is_refused(folder, change, words):
    opened(folder).close()
    change(folder)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DriverError, match=words) as refusal:
        opened(folder)
    assert f"top {folder}/a.top" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_not_there_is_said(folder):
    text = spec(folder).replace("a.top", "none/a.top")
    with pytest.raises(DriverError, match=r"folder .*none does not exist: make it"):
        make("block", text, Keep(folder / "keep"))


def test_what_was_left_of_one_that_was_being_made_is_no_harm(folder):
    Path(folder / "a.top.new").write_bytes(b"half")
    disk = opened(folder)
    assert read(disk) == BASE
    disk.close()
    assert not (folder / "a.top.new").exists()
