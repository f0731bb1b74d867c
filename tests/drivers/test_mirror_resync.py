import random
import threading

import pytest

from drivers.interface import MediumError
from tests.drivers.mirror_parts import (
    NEVER,
    SIZE,
    good,
    got,
    put,
    wait_for_peace,
    wait_for_why,
)


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


def test_where_all_fail_at_once_they_are_made_equal_afterwards(parts, mirror, state):
    disk = mirror()
    parts[0].failing = parts[1].failing = {"write"}
    with disk._legs.lock:  # nobody compares them before this is done
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


@pytest.mark.parametrize("which", [0, 1])
def test_it_is_good_when_all_are_flushed_and_not_before(parts, mirror, state, which):
    disk = mirror()
    parts[1].failing = {"write"}
    put(disk, 0, b"a" * 512)
    parts[1].failing = set()
    parts[which].failing = {"flush"}
    wait_for_why(disk, "flush fails")
    assert parts[0].bytes() == parts[1].bytes()
    assert good(state) == ["a"]
    parts[which].failing = set()
    wait_for_peace(disk)
    assert good(state) == ["a", "b"]


class Pauses:
    """What a resync waits with; `act` is called in the first pause after a piece was copied."""

    def __init__(self, disk, act):
        self._real, self._disk, self._act = disk._resync._ending, disk, act
        disk._resync._ending = self

    def wait(self, seconds):
        if self._act and any(leg.reach for leg in self._disk._legs.out):
            act, self._act = self._act, None
            act()
        return self._real.wait(seconds)

    def is_set(self):
        return self._real.is_set()

    def set(self):
        self._real.set()


def test_a_write_that_it_misses_while_it_catches_up_is_not_forgotten(parts, mirror, state):
    disk, did = mirror(), threading.Event()

    def act():
        parts[1].failing = {"write"}
        put(disk, 0, b"b" * 512)
        parts[1].failing = set()
        did.set()

    Pauses(disk, act)
    parts[1].failing = {"write"}
    put(disk, SIZE - 512, b"a" * 512)
    parts[1].failing = set()
    assert did.wait(20)
    wait_for_peace(disk)
    assert parts[0].bytes() == parts[1].bytes()
    assert parts[1].bytes()[:512] == b"b" * 512


def test_a_write_that_only_it_got_makes_it_start_over(parts, mirror, state):
    disk, reached = mirror(), []
    did = threading.Event()

    def act():
        parts[0].failing = {"write"}
        with pytest.raises(MediumError, match="write fails"):
            put(disk, 0, b"b" * 512)
        reached.extend(leg.reach for leg in disk._legs.out)
        parts[0].failing = set()
        did.set()

    Pauses(disk, act)
    parts[1].failing = {"write"}
    put(disk, SIZE - 512, b"a" * 512)
    parts[1].failing = set()
    assert did.wait(20)
    assert reached == [0]
    wait_for_peace(disk)
    assert parts[0].bytes() == parts[1].bytes()


def test_what_stays_unreadable_stays_out(parts, mirror, state):
    disk = mirror()
    parts[1].failing = {"write", "read"}
    put(disk, 0, b"a" * 512)
    parts[1].failing = {"read"}
    wait_for_why(disk, "read fails")
    assert parts[1].bytes()[:512] == b"a" * 512
    assert good(state) == ["a"]
