import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import mirror_state
from drivers.block_file import FileBlock
from drivers.block_mirror import MirrorBlock
from drivers.interface import (
    Ability,
    Child,
    Claim,
    DriverError,
    Keep,
    MediumError,
    SpecError,
    UnsupportedError,
)
from drivers.registry import check, claims, content, make
from tests.drivers.nbd_servers import nbdkit, qemu_nbd

SIZE = (3 << 20) + 512


class Part:
    """A child for the tests: a file whose requests can be made to fail, and their order be seen."""

    def __init__(self, path, size=SIZE):
        path.touch()
        os.truncate(path, size)
        self.path = path
        self.failing = set()  # of "open", "read", "write", "flush"
        self.abilities = Ability.NONE
        self.done = []

    def child(self):
        return Child(str(self.path), lambda: PartBlock(self), tuple, lambda: "")

    def bytes(self):
        return self.path.read_bytes()

    def put(self, offset, data):
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)


class PartBlock(FileBlock):
    def __init__(self, part):
        self._part = part
        self._in_use = threading.Lock()
        self._may("open", DriverError)
        super().__init__(FileBlock.Options(part.path))
        self.abilities = part.abilities

    def read(self, offset, into):
        with self._used():
            self._may("read")
            super().read(offset, into)

    def write(self, offset, data):
        with self._used():
            self._may("write")
            super().write(offset, data)

    def flush(self):
        with self._used():
            self._may("flush")
            super().flush()

    def discard(self, offset, length):
        with self._used():
            self._may("discard", UnsupportedError)
            self._part.done.append(("discard", offset, length))

    def write_zeroes(self, offset, length, unmap):
        with self._used():
            self._may("zero", UnsupportedError)
            self._part.done.append(("zero", offset, length, unmap))
            super().write(offset, memoryview(bytes(length)))

    def _used(self):
        assert not self._in_use.locked(), "two threads use a child at a time"
        return self._in_use

    def _may(self, what, error=MediumError):
        if what in self._part.failing:
            raise error(f"{what} fails")


@pytest.fixture
def parts(tmp_path):
    return [Part(tmp_path / name) for name in "ab"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def mirror(parts, state):
    """Makes mirrors of the parts; they begin with both good, unless it is said otherwise."""
    made = []

    def begun(retry=0.01, fresh=False, of=None):
        used = parts if of is None else of
        if not fresh and not state.exists():
            mirror_state.State(state, SIZE, {str(p.path): True for p in used}).close()
        disk = MirrorBlock(MirrorBlock.Options(tuple(p.child() for p in used), state, retry))
        made.append(disk)
        disk.begin()
        return disk

    yield begun
    for disk in made:
        disk.close()


NEVER = 1000.0


def got(disk, offset, length):
    into = bytearray(length)
    disk.read(offset, memoryview(into))
    return bytes(into)


def put(disk, offset, data):
    disk.write(offset, memoryview(data))


def good(state):
    return [os.path.basename(n) for n, one in mirror_state.read(state).children.items() if one]


def wait_for_peace(disk, seconds=20):
    """Until all children are good and nothing is left to be compared."""
    deadline, tick = time.monotonic() + seconds, threading.Event()
    while True:
        with disk._legs.lock:
            if not disk._legs.out and not disk._legs.pending:
                return
        assert time.monotonic() < deadline, [leg.why for leg in disk._legs.out]
        tick.wait(0.002)


def wait_for_why(disk, why):
    """Until the child that is out is so for this reason."""
    deadline, tick = time.monotonic() + 20, threading.Event()
    while why not in disk._legs.out[0].why:
        assert time.monotonic() < deadline
        tick.wait(0.002)


def test_writes_go_to_all_and_reads_come_from_the_first(parts, mirror, state):
    disk = mirror()
    assert (disk.size, disk.readonly, disk.identity) == (SIZE, False, "state")
    put(disk, 512, b"x" * 1024)
    disk.flush()
    assert parts[0].bytes() == parts[1].bytes() == bytes(512) + b"x" * 1024 + bytes(SIZE - 1536)
    parts[1].put(512, b"y")
    assert got(disk, 512, 512) == b"x" * 512
    assert good(state) == ["a", "b"]


def test_a_new_mirror_begins_with_the_first_and_copies_it(parts, mirror, state, capfd):
    data = random.Random(1).randbytes(SIZE)
    parts[0].put(0, data)
    parts[1].put(0, b"old" * 1000)
    disk = mirror(fresh=True)
    assert got(disk, 0, SIZE) == data
    wait_for_peace(disk)
    assert parts[1].bytes() == data
    assert good(state) == ["a", "b"]
    told = capfd.readouterr().err.splitlines()
    whose = f"service OS: mirror {state}: child {parts[1].path}"
    assert told == [f"{whose} is out: it has to be brought up to date", f"{whose} is good"]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("what", ["read", "write", "flush"])
def test_a_child_that_fails_is_put_out_and_the_guest_does_not_notice(
    parts, mirror, state, capfd, which, what
):
    disk = mirror(NEVER)
    put(disk, 0, b"a" * 512)
    parts[which].failing = {what}
    assert got(disk, 0, 512) == b"a" * 512
    put(disk, 0, b"b" * 512)
    put(disk, 1024, b"c" * 512)
    disk.flush()
    assert got(disk, 0, 512) == b"b" * 512
    if (which, what) == (1, "read"):
        assert good(state) == ["a", "b"]
        return
    assert good(state) == ["ab"[1 - which]]
    told = capfd.readouterr().err
    why = f"child {parts[which].path} is out: {what} fails\n"
    assert told == f"service OS: mirror {state}: {why}"


def test_who_is_out_is_durable_before_the_write_is_completed(parts, mirror, state, monkeypatch):
    disk = mirror(NEVER)
    put(disk, 0, b"a" * 512)
    parts[0].failing = {"write"}
    real = os.fdatasync

    def full(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", full)
    for _ in range(2):
        with pytest.raises(MediumError, match="state cannot be written: Input/output error"):
            put(disk, 0, b"b" * 512)
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(good(state)), real(fd)))
    put(disk, 0, b"c" * 512)
    assert synced == [["b"]]


def test_a_stale_child_is_not_read_by_those_who_come_later(parts, mirror, state):
    disk = mirror(NEVER)
    parts[0].failing = {"write"}
    put(disk, 0, b"new" * 512)
    parts[0].failing = set()
    for _ in range(2):
        heir = mirror(NEVER)
        assert got(heir, 0, 1536) == b"new" * 512
        assert parts[0].bytes()[:3] == bytes(3)
    parts[1].failing = {"open"}
    with pytest.raises(DriverError, match="has no good child: open fails"):
        mirror(NEVER)


def test_the_guest_sees_an_error_only_if_none_is_left(parts, mirror, state):
    disk = mirror(NEVER)
    parts[1].failing = {"write"}
    put(disk, 0, b"a" * 512)
    parts[0].failing = {"write", "read", "flush"}
    for request in (lambda: put(disk, 0, b"b" * 512), lambda: got(disk, 0, 512), disk.flush):
        with pytest.raises(MediumError, match=r"(read|write|flush) fails"):
            request()
    parts[0].failing = set()
    assert got(disk, 0, 512) == b"a" * 512
    assert good(state) == ["a"]


def test_where_all_fail_at_once_they_are_made_equal_afterwards(parts, mirror, state):
    disk = mirror()
    parts[0].failing = parts[1].failing = {"write"}
    with pytest.raises(MediumError):
        put(disk, 1 << 20, b"b" * 512)
    parts[1].put(1 << 20, b"half")
    parts[0].failing = parts[1].failing = set()
    wait_for_peace(disk)
    assert parts[0].bytes() == parts[1].bytes() == bytes(SIZE)
    assert good(state) == ["a", "b"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_child_that_comes_back_is_brought_up_to_date_under_load(parts, mirror, state, which):
    disk = mirror()
    expected, order = bytearray(SIZE), random.Random(4)

    def work(count):
        for _ in range(count):
            at, size = order.randrange(SIZE // 512 - 64) * 512, order.randrange(1, 64) * 512
            expected[at : at + size] = data = order.randbytes(size)
            put(disk, at, data)
            assert got(disk, at, size) == data

    for again in range(3):
        work(20)
        parts[which].failing = {"write", "read"}
        if again:
            parts[which].put(order.randrange(SIZE - 100), b"rotten while it was away")
        work(20)
        assert good(state) == ["ab"[1 - which]]
        parts[which].failing = set()
        while disk._legs.out:
            work(1)
        work(20)
        wait_for_peace(disk)
        assert good(state) == ["a", "b"]
        assert parts[0].bytes() == parts[1].bytes() == expected


def test_failing_again_while_it_catches_up_it_starts_over(parts, mirror, state):
    disk = mirror()
    parts[1].failing = {"write"}
    data = random.Random(5).randbytes(SIZE)
    put(disk, 0, data)
    for _ in range(3):
        parts[1].failing = {"open"}
        wait_for_why(disk, "open fails")
        parts[1].failing = {"write"}  # it opens, and fails at the first difference
        wait_for_why(disk, "write fails")
    parts[1].failing = set()
    wait_for_peace(disk)
    assert parts[1].bytes() == data


def test_what_was_unreadable_is_written_anew(parts, mirror, state):
    data = random.Random(6).randbytes(SIZE)
    parts[1].put(0, data)
    disk = mirror()
    parts[0].failing = {"read"}
    assert got(disk, 0, 512) == data[:512]
    assert got(disk, 512, SIZE - 512) == data[512:]
    parts[0].failing = set()
    wait_for_peace(disk)
    assert parts[0].bytes() == data


def test_after_a_loss_of_power_the_first_has_the_last_word_where_writes_were_under_way(
    parts, mirror, state
):
    disk = mirror(NEVER)
    put(disk, 1 << 20, b"a" * 512)
    disk.close = lambda: None  # the power goes: nothing is ended
    parts[0].put(1 << 20, b"new")
    parts[1].put(1 << 20, b"old")
    parts[1].put(2 << 20, b"differs where nobody wrote")
    heir = mirror()
    wait_for_peace(heir)
    assert parts[1].bytes()[1 << 20 : (1 << 20) + 3] == b"new"
    assert parts[1].bytes()[2 << 20 : (2 << 20) + 7] == b"differs"
    assert good(state) == ["a", "b"]


def test_marks_are_there_before_a_write_and_go_after_a_flush_in_peace(parts, mirror, state):
    disk = mirror(NEVER)

    def marks():
        return state.read_bytes()[2 * mirror_state.SLOT :]

    assert marks() == bytes(4)
    parts[0].failing = parts[1].failing = {"write"}
    with pytest.raises(MediumError):
        put(disk, 0, bytes(512))
    assert marks() == b"\1\0\0\0"
    parts[0].failing = parts[1].failing = set()
    put(disk, 1 << 20, bytes(512))
    for _ in range(3):
        disk._tidied = -NEVER
        disk.flush()
    assert marks() == b"\1\0\0\0"  # nobody has made these equal yet
    parts[1].failing = {"write"}
    put(disk, 2 << 20, bytes(512))
    assert marks() == b"\1\0\1\0"
    put(disk, 3 << 20, bytes(512))  # there is nothing to differ from
    assert marks() == b"\1\0\1\0"


def test_a_child_that_cannot_be_opened_is_out_and_tried_again(parts, mirror, state):
    mirror(NEVER)
    parts[0].failing = {"open"}
    disk = mirror()
    put(disk, 0, b"a" * 512)
    assert good(state) == ["b"]
    parts[0].failing = set()
    wait_for_peace(disk)
    assert parts[0].bytes() == b"a" * 512 + bytes(SIZE - 512)


def test_a_child_that_could_not_be_opened_in_time_may_when_it_begins(parts, mirror, state):
    mirror(NEVER)
    parts[0].failing = {"open"}
    children = tuple(part.child() for part in parts)
    standby = MirrorBlock(MirrorBlock.Options(children, state, NEVER))
    assert standby.patience is None
    parts[0].failing = set()
    standby.begin()
    assert good(state) == ["a", "b"]
    assert standby.patience == pytest.approx(0.6)
    standby.close()


def test_a_child_of_another_size_is_refused_and_one_that_is_out_stays_out(parts, mirror, state):
    os.truncate(parts[1].path, SIZE + 512)
    words = f"child {parts[0].path} has {SIZE} bytes, and {parts[1].path} has {SIZE + 512}: make"
    with pytest.raises(DriverError, match=words):
        mirror(fresh=True)
    assert not state.exists()
    mirror_state.State(state, SIZE, {str(p.path): p is parts[0] for p in parts}).close()
    disk = mirror()
    wait_for_why(disk, "not a disk of")
    os.truncate(parts[1].path, SIZE)
    wait_for_peace(disk)


def test_a_child_that_is_new_is_brought_up_to_date(parts, mirror, state, tmp_path):
    put(mirror(NEVER), 0, b"a" * 512)
    parts[1] = Part(tmp_path / "c")
    disk = mirror()
    assert good(state) == ["a"]
    wait_for_peace(disk)
    assert parts[1].bytes()[:513] == b"a" * 512 + b"\0"
    assert good(state) == ["a", "c"]


def test_children_that_are_all_new_are_refused(parts, mirror, state, tmp_path):
    mirror(NEVER)
    others = [Part(tmp_path / name) for name in "cd"]
    with pytest.raises(DriverError, match="knows none of the children as good: name those it"):
        mirror(NEVER, of=others)


def test_the_order_of_children_does_not_matter(parts, mirror, state):
    disk = mirror(NEVER)
    parts[0].failing = {"write"}
    put(disk, 0, b"new" * 512)
    assert got(mirror(NEVER, of=parts[::-1]), 0, 3) == b"new"


def test_a_child_that_is_read_only_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(512))
    spec = f"mirror:children=((file:path={tmp_path}/a),(file:path={tmp_path}/b,readonly))"
    with pytest.raises(DriverError, match="readonly is read-only: a mirror writes to all of them"):
        make("block", f"{spec},state={tmp_path}/s", Keep(tmp_path))


def test_standing_by_it_changes_nothing(parts, state):
    children = tuple(part.child() for part in parts)
    MirrorBlock(MirrorBlock.Options(children, state)).close()
    assert not state.exists()
    mirror_state.State(state, SIZE, {str(p.path): p is parts[0] for p in parts}).close()
    before = state.read_bytes(), state.stat().st_mtime_ns
    MirrorBlock(MirrorBlock.Options(children, state)).close()
    assert (state.read_bytes(), state.stat().st_mtime_ns) == before


def test_it_begins_with_what_was_remembered_since_it_was_opened(parts, mirror, state):
    active = mirror(NEVER)
    children = tuple(part.child() for part in parts)
    standby = MirrorBlock(MirrorBlock.Options(children, state, NEVER))
    parts[0].failing = {"write"}
    put(active, 0, b"new" * 512)
    parts[0].failing = set()
    standby.begin()
    assert got(standby, 0, 3) == b"new"
    standby.close()


def test_each_child_discards_and_zeroes_as_it_can(parts, mirror):
    parts[0].abilities = Ability.DISCARD | Ability.WRITE_ZEROES
    disk = mirror()
    assert disk.abilities == Ability.DISCARD | Ability.WRITE_ZEROES
    put(disk, 0, b"a" * 4096)
    disk.discard(1024, 512)
    disk.write_zeroes(512, 512, unmap=True)
    assert parts[0].done == [("discard", 1024, 512), ("zero", 512, 512, True)]
    assert parts[1].done == []
    assert parts[0].bytes() == parts[1].bytes()
    parts[0].failing = {"zero", "discard"}  # it says that it can, and then that it cannot
    disk.write_zeroes(2048, 512, unmap=True)
    disk.discard(1024, 512)
    assert parts[0].bytes()[2048:2560] == bytes(512)
    assert disk._legs.out == []


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 7), st.integers(1, 3)),
    st.tuples(st.just("fail"), st.integers(0, 1), st.sampled_from(["read", "write", "flush"])),
    st.tuples(st.just("mend"), st.integers(0, 1), st.none()),
    st.tuples(st.just("flush"), st.none(), st.none()),
    st.tuples(st.just("die"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.none(), st.none()),
)


@given(st.lists(steps, max_size=25))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_completed_is_read_whatever_happens(tmp_path_factory, todo):
    folder = tmp_path_factory.mktemp("mirror")
    parts = [Part(folder / name, 8 * 512) for name in "ab"]
    children = tuple(part.child() for part in parts)
    options = MirrorBlock.Options(children, folder / "state", 0.001)
    disk = MirrorBlock(options)
    disk.begin()
    expected = [{0} for _ in range(8)]  # by sector: what may be there
    made = [disk]
    for number, (action, first, second) in enumerate(todo, 1):
        if action == "write":
            touched = range(first, min(first + second, 8))
            try:
                put(disk, first * 512, bytes([number]) * 512 * len(touched))
            except MediumError:
                for sector in touched:
                    expected[sector].add(number)
            else:
                for sector in touched:
                    expected[sector] = {number}
        elif action == "fail":
            parts[first].failing.add(second)
        elif action == "mend":
            parts[first].failing.clear()
        elif action == "flush":
            try:
                disk.flush()
            except MediumError:
                assert any(part.failing for part in parts)
        elif action == "die":
            disk._resync.end()
            disk = MirrorBlock(options)
            disk.begin()
            made.append(disk)
        else:
            for part in parts:
                part.failing.clear()
            wait_for_peace(disk)
            assert parts[0].bytes() == parts[1].bytes()
        if not any(part.failing for part in parts):
            found = got(disk, 0, 8 * 512)
            for sector, allowed in enumerate(expected):
                assert found[sector * 512] in allowed
                assert len(set(found[sector * 512 : sector * 512 + 512])) == 1
    for part in parts:
        part.failing.clear()
    wait_for_peace(disk)
    assert parts[0].bytes() == parts[1].bytes()
    for one in made:
        one.close()


CHILD = """
import sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
disk = make("block", sys.argv[1], Keep(Path("k")))
disk.begin()
number = 0
while True:
    number += 1
    print(number, flush=True)
    disk.write(number * 7 % 90 * 65536 // 2, memoryview(bytes([number % 256]) * 65536))
    if number % 10 == 0:
        disk.flush()
"""


@pytest.mark.parametrize("after", [1, 2, 30, 100, 333])
def test_after_sigkill_and_a_replay_the_children_are_equal(tmp_path, after):
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(SIZE))
    spec = f"mirror:children=((file:path={tmp_path}/a),(file:path={tmp_path}/b)),retry=10ms"
    spec += f",state={tmp_path}/s"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, spec], stdout=subprocess.PIPE, text=True
    ) as child:
        for line in child.stdout:
            if line == f"{after}\n":
                child.send_signal(signal.SIGKILL)
                break
        last = int((child.stdout.read().split() or [after])[-1])
    expected = bytearray(SIZE)
    for number in range(1, last + 1):
        at = number * 7 % 90 * 65536 // 2
        expected[at : at + 65536] = bytes([number % 256]) * 65536
    disk = make("block", spec, Keep(tmp_path))
    disk.begin()
    put(disk, at, bytes([last % 256]) * 65536)
    assert got(disk, 0, SIZE) == expected
    wait_for_peace(disk)
    disk.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == expected


def test_a_server_that_is_killed_is_out_and_comes_back(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(SIZE))
    path = tmp_path / "x.sock"
    spec = f"mirror:children=((nbd:socket={path},timeout=200ms),(file:path={tmp_path}/a))"
    spec += f",retry=20ms,state={tmp_path}/s"
    with qemu_nbd(path, tmp_path / "b") as server:
        disk = make("block", spec, Keep(tmp_path))
        disk.begin()
        wait_for_peace(disk)
        put(disk, 0, b"a" * 512)
        server.kill()
        put(disk, 512, b"b" * 512)
        assert got(disk, 0, 1024) == b"a" * 512 + b"b" * 512
        standby = make("block", spec, Keep(tmp_path))  # also while the server is away
        standby.close()
        server.start()
        wait_for_peace(disk)
        disk.close()
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert (tmp_path / "a").read_bytes()[:1025] == b"a" * 512 + b"b" * 512 + b"\0"


def test_a_server_that_fails_requests_is_out_and_comes_back(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    path, trigger = tmp_path / "x.sock", tmp_path / "fail"
    spec = f"mirror:children=((file:path={tmp_path}/a),(nbd:socket={path})),retry=20ms"
    errors = ("error=EIO", "error-rate=1", f"error-file={trigger}")
    with nbdkit(path, "--filter=error", "memory", "1M", *errors):
        disk = make("block", f"{spec},state={tmp_path}/s", Keep(tmp_path))
        disk.begin()
        wait_for_peace(disk)
        trigger.touch()
        put(disk, 512, b"b" * 512)
        assert len(disk._legs.out) == 1
        trigger.unlink()
        wait_for_peace(disk)
        assert got(disk._legs.good[1].driver, 0, 1536) == bytes(512) + b"b" * 512 + bytes(512)
        disk.close()


def test_it_claims_its_childrens_files_and_the_state(tmp_path):
    a, b, s = (tmp_path / name for name in "abs")
    spec = f"mirror:children=((file:path={a}),(file:path={b})),state={s}"
    assert list(claims("block", spec)) == [Claim(path, exclusive=True) for path in (a, b, s)]
    for path in (a, b):
        path.write_bytes(bytes(512))
    words = [content("block", f"file:path={path}") for path in (a, b)]
    assert content("block", spec) == (f"mirror({','.join(words)})" if all(words) else "")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("mirror:children=((file:path=a))", r"needs the option 'state': add state=\.\.\."),
        ("mirror:children=((file:path=a)),state=s", r"1 children: give 2 to 16, as in children="),
        ("mirror:children=((file:path=a),(file:path=a)),state=s", "a child is there twice"),
        ("mirror:children=((file:path=a),(file:path=b)),state=s,retry=0s", "retry must be more"),
        ("mirror:children=((file:path=a),(fil:path=b)),state=s", "no block driver 'fil'"),
    ],
)
def test_options_that_make_no_sense(spec, why):
    with pytest.raises(SpecError, match=why):
        check("block", spec)
