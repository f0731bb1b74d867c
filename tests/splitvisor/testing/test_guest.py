"""What a guest said and how it ended."""

import pytest

from protos import core_pb2 as core
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.guest import Guest


def make(tmp_path, status, said="hello\n", *more):
    """A guest whose machine gives up at once."""
    console = tmp_path / "web.log"
    console.write_text(said)

    def wait(what, look, _seconds):
        if (found := look()) is None:
            raise MachineFailure(what)
        return found

    return Guest("web", console, wait, lambda: status, *more)


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


def test_a_guest_that_has_ended_is_not_waited_for(tmp_path):
    status = core.GuestStatus(state=core.GUEST_ENDED, end_reason=core.END_EXIT, exit_status=3)
    guest = make(tmp_path, status, "ready\nno end")
    assert [guest.says("ready"), guest.says("no end")] == ["ready", "no end"]
    with pytest.raises(MachineFailure) as never:
        guest.says("steady")
    ended = "guest web has ended: exit, status 3: no end"
    assert str(never.value) == f"{ended}; it never said 'steady'"


def test_a_guest_that_is_started_anew_may_say_it_yet(tmp_path):
    status = core.GuestStatus(state=core.GUEST_ENDED, end_reason=core.END_RESET)
    with pytest.raises(MachineFailure, match=r"^guest web to say 'steady'$"):
        make(tmp_path, status, "ready\n", True).says("steady")


def test_what_was_in_the_file_before_was_said_by_another(tmp_path):
    guest = make(tmp_path, core.GuestStatus(), "old\nnew\r\n", False, len("old\n"))
    assert guest.output() == "new\n"
