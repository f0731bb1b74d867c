"""What a guest said and how it ended."""

import pytest

from protos import core_pb2 as core
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.guest import Guest


def make(tmp_path, status, said="hello\n"):
    """A guest whose machine gives up at once."""
    console = tmp_path / "web.log"
    console.write_text(said)

    def wait(what, look, _seconds):
        if (found := look()) is None:
            raise MachineFailure(what)
        return found

    return Guest("web", console, wait, lambda: status)


def test_an_exit_is_its_own_word(tmp_path):
    status = core.GuestStatus(state=core.GUEST_ENDED, end_reason=core.END_EXIT, exit_status=3)
    verdict = make(tmp_path, status).wait()
    assert (verdict.passed, verdict.reason, verdict.status) == (False, "exit", 3)
    assert str(verdict) == "guest web: exit, status 3: hello"
    assert make(tmp_path, status).end() == "guest web has ended: exit, status 3: hello"
    status.exit_status = 0
    assert make(tmp_path, status).wait().passed


def test_any_other_end_is_no_pass(tmp_path):
    status = core.GuestStatus(state=core.GUEST_ENDED, end_reason=core.END_TRIPLE_FAULT)
    verdict = make(tmp_path, status).wait()
    assert (verdict.passed, verdict.reason) == (False, "triple-fault")


def test_errors_are_those_that_storm_counts(tmp_path):
    said = (
        "storm: start seed=1 blocks=8 span=1 writes=50 flush=0 depth=4 hz=2000000000\n"
        "storm: result requests=90 errors=7\nstorm: PASS 90 requests\n"
    )
    status = core.GuestStatus(state=core.GUEST_ENDED, end_reason=core.END_EXIT)
    verdict = make(tmp_path, status, said).wait()
    assert verdict.io_errors == 7
    assert verdict.storm is not None
    assert verdict.storm.passed
    assert make(tmp_path, status).wait().storm is None


def test_only_whole_lines_are_heard(tmp_path):
    guest = make(tmp_path, core.GuestStatus(), "ready\nready: 4")
    assert guest.says("ready") == "ready"
    with pytest.raises(MachineFailure, match="guest web to say 'ready: '"):
        guest.says("ready: ")
