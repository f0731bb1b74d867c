import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import mirror_state
from drivers.block_mirror import MirrorBlock
from drivers.interface import (
    Ability,
    DriverError,
    MediumError,
)
from tests.drivers.mirror_parts import (
    NEVER,
    SIZE,
    Part,
    good,
    got,
    put,
    wait_for_peace,
)


def test_writes_go_to_all_and_reads_come_from_the_first(parts, mirror, state):
    disk = mirror()
    assert (disk.size, disk.readonly, disk.identity) == (SIZE, False, "state")
    put(disk, 512, b"x" * 1024)
    disk.flush()
    assert parts[0].bytes() == parts[1].bytes() == bytes(512) + b"x" * 1024 + bytes(SIZE - 1536)
    parts[1].put(512, b"y")
    assert got(disk, 512, 512) == b"x" * 512
    assert good(state) == ["a", "b"]


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
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
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
