import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import DriverError
from drivers.mirror_state import MAX_NAMES, REGION, SLOT, Record, State, decode, encode, read

SIZE = 5 * REGION + 512
NEW = {"a": True, "b": False}

records = st.builds(
    Record,
    st.integers(0, 1 << 64),
    st.integers(512, 1 << 62),
    st.integers(512, 1 << 30),
    st.dictionaries(st.text(max_size=30), st.booleans(), max_size=4),
)


@given(records)
def test_a_record_fills_a_slot_and_is_read_back(record):
    assert len(encode(record)) == SLOT
    assert decode(encode(record)) == record


@pytest.mark.parametrize("letter", ["\0", '"', "ü", "\U0001f600", "x"])
def test_the_longest_names_fit(letter):
    names = letter * (MAX_NAMES // len(letter.encode()))
    record = Record(1 << 62, 1 << 62, REGION, {names: True})
    assert len(encode(record)) == SLOT
    assert decode(encode(record)) == record


@given(records, st.integers(0, SLOT - 1), st.integers(1, 255))
def test_a_damaged_slot_is_no_record(record, at, change):
    slot = bytearray(encode(record))
    slot[at] ^= change
    assert decode(bytes(slot)) in (None, record)  # what is behind the line does not count


@given(st.binary(max_size=200))
def test_garbage_is_no_record(data):
    assert decode(data) is None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def test_it_is_made_with_the_first_child_good(path):
    assert read(path) is None
    state = State(path, SIZE, NEW)
    assert state.marked == set()
    assert path.stat().st_size == 2 * SLOT + 6
    state.close()
    assert read(path) == Record(1, SIZE, REGION, NEW)


def test_the_newest_whole_record_counts(path):
    state = State(path, SIZE, NEW)
    for good in (True, False, True):
        state.save({"a": good, "b": True})
    state.close()
    assert read(path) == Record(4, SIZE, REGION, {"a": True, "b": True})
    with path.open("r+b") as file:  # the slot of generation 4 is torn
        file.seek(20)
        file.write(b"torn")
    assert read(path) == Record(3, SIZE, REGION, {"a": False, "b": True})
    again = State(path, SIZE, NEW)
    assert again.record.generation == 3
    again.save(NEW)
    again.close()
    assert read(path) == Record(4, SIZE, REGION, NEW)


def test_dying_before_the_first_record_is_never_having_been(path):
    path.write_bytes(bytes(2 * SLOT + 6))
    assert read(path) is None
    State(path, SIZE, NEW).close()
    assert read(path).children == NEW


def test_marks_are_durable_before_and_outlive_the_process(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(path.read_bytes()[2 * SLOT :]))
    state = State(path, SIZE, NEW)
    synced.clear()
    assert state.regions(REGION - 512, 1024) == range(2)
    assert state.regions(SIZE - 512, 512) == range(5, 6)
    state.mark(range(1, 3))
    assert synced == [b"\0\1\1\0\0\0"]
    state.mark(range(2, 3))
    assert len(synced) == 1
    state.mark(range(2, 6))
    assert synced[1:] == [b"\0\1\1\1\1\1"]
    state.close()
    again = State(path, SIZE, NEW)
    assert again.marked == {1, 2, 3, 4, 5}
    again.close()


def test_marks_go_when_nothing_was_written_there_for_a_while(path):
    state = State(path, SIZE, NEW)
    state.mark(range(4))
    state.unmark(())
    assert state.marked == {0, 1, 2, 3}
    state.mark(range(1, 2))
    state.unmark({3})
    assert state.marked == {1, 3}
    state.unmark(())
    assert state.marked == set()
    assert path.read_bytes()[2 * SLOT :] == bytes(6)
    state.mark(range(1))
    assert path.read_bytes()[2 * SLOT :] == b"\1" + bytes(5)
    state.close()


def test_what_is_no_state_file_is_left_alone(path):
    path.write_bytes(b"precious" * 100)
    with pytest.raises(DriverError, match=r"state is damaged or something else: name another"):
        State(path, SIZE, NEW)
    assert path.read_bytes() == b"precious" * 100


def test_a_file_that_cannot_be(path):
    with pytest.raises(DriverError, match="cannot be used: No such file or directory: name a"):
        State(path / "deeper", SIZE, NEW)
    path.mkdir()
    with pytest.raises(DriverError, match="cannot be used: Is a directory"):
        read(path)


def test_another_size_is_refused(path):
    State(path, SIZE, NEW).close()
    with pytest.raises(DriverError, match=f"is of a disk of {SIZE} bytes, not 512: give the"):
        State(path, 512, NEW)
