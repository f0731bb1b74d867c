import pytest

from splitvisor.testing.conformance import assert_conforms

REASON = "MediumError"


@pytest.fixture
def faulty(tmp_path):
    """A disk that fails two checks: it is there to fail the first discard of each process."""
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    (tmp_path / "script").write_text("discard 1 error\n")
    return f"faulty:script={tmp_path}/script,child=(file:path={tmp_path}/a.img)"


def test_failures_are_told_with_what_is_demanded(faulty):
    with pytest.raises(AssertionError) as told:
        assert_conforms("block", faulty)
    lines = str(told.value).splitlines()
    assert lines[0] == f"block driver {faulty}:"
    assert [line.partition(":")[0] for line in lines[1::2]] == [
        "is_like_bytes_in_memory",
        "discards",
    ]
    assert lines[4].startswith("    demanded: What was discarded is what was there, or zeros")


def test_what_is_known_has_to_stay_so(faulty):
    known = dict.fromkeys(("is_like_bytes_in_memory", "discards"), REASON)
    assert assert_conforms("block", faulty, known)
    with pytest.raises(AssertionError) as told:
        assert_conforms("block", faulty, known | {"reads_anywhere": "", "no_such_check": ""})
    lines = str(told.value).splitlines()[1:]
    assert lines == [
        "reads_anywhere: is known to fail with '': it did not",
        "no_such_check: there is no such check",
    ]


def test_a_driver_that_does_not_open_fails_and_nothing_is_said_of_what_was_not_tried(
    tmp_path, monkeypatch
):
    (tmp_path / "silent-1.dist-info").mkdir()
    entry = "[splitvisor.drivers]\nentropy.silent = silent:Silent\n"
    (tmp_path / "silent-1.dist-info" / "entry_points.txt").write_text(entry)
    options = (
        "import dataclasses\nclass Silent:\n    Options = dataclasses.make_dataclass('O', [])\n"
    )
    (tmp_path / "silent.py").write_text(options + "    def __init__(self, options): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError) as told:
        assert_conforms("entropy", "silent", {"fills_all": "zeros"})
    lines = str(told.value).splitlines()
    assert lines[1] == "opens: it has no method close, fill"
    assert len(lines) == 3


def test_a_sound_driver_passes():
    results = assert_conforms("entropy", "system")
    assert all(result.demand and result.outcome == "passed" for result in results)
