import os
import signal
import subprocess
import sys
import threading

import pytest

from drivers import mirror_state
from drivers.block_mirror import MirrorBlock
from drivers.interface import (
    Claim,
    DriverError,
    Keep,
    SpecError,
)
from drivers.mirror_legs import Leg
from drivers.registry import check, claims, content, make
from tests.drivers.mirror_parts import (
    NEVER,
    SIZE,
    Part,
    good,
    got,
    put,
    wait_for_peace,
    wait_for_why,
)
from tests.drivers.nbd_servers import nbdkit, qemu_nbd


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


def test_one_that_is_known_to_be_out_is_not_waited_for_when_it_begins(parts, mirror, state):
    mirror(NEVER)
    parts[0].failing = {"open"}
    put(mirror(), 0, b"a" * 512)
    assert good(state) == ["b"]
    children = tuple(part.child() for part in parts)
    standby = MirrorBlock(MirrorBlock.Options(children, state, NEVER))
    parts[0].failing = set()
    standby.begin()
    assert good(state) == ["b"]
    assert standby._all[0].driver is None
    standby.close()


def test_children_are_opened_at_the_same_time(mirror, monkeypatch):
    both, real = threading.Barrier(2), Leg.open

    def opens(leg):
        both.wait(60)
        real(leg)

    monkeypatch.setattr(Leg, "open", opens)
    mirror(NEVER)


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
    assert all(words)
    assert content("block", spec) == f"mirror({s},{','.join(words)})"
    assert content("block", spec.replace(f"state={s}", f"state={tmp_path}/t")) != content(
        "block", spec
    )


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
