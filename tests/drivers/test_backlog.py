import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.backlog import Backlog

STEPS = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(["keep", "give", "reopen", "again"])), max_size=20
)


@given(st.integers(0, 10), STEPS)
def test_it_is_the_end_of_what_was_not_given(tmp_path_factory, size, steps):
    path = tmp_path_factory.mktemp("backlog") / "keep"
    backlog, put_out, given_up_to = Backlog(path, size), b"", 0
    for i, (count, then) in enumerate(steps):
        data, position = bytes([i]) * count, len(put_out)
        put_out += data
        assert backlog.store(data, position) == data
        if then == "give":
            backlog.give()
            given_up_to = len(put_out)
        if then in ("reopen", "again"):
            backlog.close()
            backlog = Backlog(path, size)
        if then == "again":  # replayed: nothing of it has been given yet
            assert backlog.store(data, position) == data
        wanted = put_out[max(given_up_to, len(put_out) - size) :]
        assert backlog.waiting() == wanted
    backlog.close()


def test_what_was_given_is_not_given_again(tmp_path):
    backlog = Backlog(tmp_path / "keep", 8)
    backlog.store(b"abc", 0)
    backlog.give()
    backlog.close()
    backlog = Backlog(tmp_path / "keep", 8)
    assert backlog.store(b"bc", 1) == b""
    assert backlog.store(b"bcde", 1) == b"de"
    assert backlog.waiting() == b"de"
    backlog.close()


def test_of_another_size_nothing_is_found_again_and_positions_are_kept(tmp_path):
    backlog = Backlog(tmp_path / "keep", 8)
    backlog.store(b"abc", 0)
    backlog.close()
    backlog = Backlog(tmp_path / "keep", 16)
    assert backlog.waiting() == b""
    assert backlog.store(b"cd", 2) == b"d"
    backlog.close()


def test_a_place_that_cannot_be_made(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Backlog(tmp_path / "missing" / "keep", 8)
