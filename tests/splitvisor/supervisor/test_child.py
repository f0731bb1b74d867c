"""Real child processes: readiness, death, burial with descendants."""

import errno
import os
import signal
import subprocess

import pytest
import trio
import trio.testing

from splitvisor.supervisor.child import (
    StartError,
    Stdio,
    adopt_orphans,
    cannot_start,
    describe_status,
    spawn,
)

SAY_READY = "import os, sys; os.write(int(sys.argv[-1]), b'!')\n"
WAIT = "import signal; signal.pause()\n"
NOTHING = Stdio(subprocess.DEVNULL, subprocess.DEVNULL)


@pytest.fixture
def start(tmp_path):
    """Start a child that runs some Python."""
    children = []

    def start(code, stdio=NOTHING, **more):
        (tmp_path / "some_child.py").write_text(code)
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        children.append(spawn("some_child", [], tmp_path / "child.log", stdio, env, **more))
        return children[-1]

    yield start
    assert all(child.status is not None for child in children)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_is_ready_when_it_says_so_and_buried_with_its_status(start):
    child = start(SAY_READY + WAIT)
    await child.ready(20)
    assert os.getpgid(child.pid) == child.pid
    assert os.getsid(child.pid) == os.getsid(0)  # which shares out the CPUs, see `spawn`
    apart = start(SAY_READY + WAIT, apart=True)
    await apart.ready(20)
    assert os.getpgid(apart.pid) == os.getsid(apart.pid) == apart.pid
    await apart.bury()
    child.kill()
    await child.died()
    await child.bury()
    assert os.WTERMSIG(child.status) == signal.SIGKILL
    assert child.how_it_died() == "signal 9 (SIGKILL)"
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


async def test_a_death_is_not_taken_for_that_of_a_child_whose_descriptor_has_its_number(start):
    first, second = start(SAY_READY + WAIT), start(SAY_READY + WAIT)
    await first.ready(20)
    await second.ready(20)
    with trio.move_on_after(0):
        await first.died()
    heard = []

    async def wait():
        await second.died()
        heard.append("died")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        left = os.dup(first._pidfd)  # as a thread has one that waits for it to stop
        await first.bury()
        await trio.testing.wait_all_tasks_blocked(0.01)
        os.close(left)
        assert heard == []
        second.kill()
    assert heard == ["died"]
    await second.bury()


async def test_a_child_that_cannot_start_is_told_with_its_last_line(start):
    child = start("import sys; sys.exit('first\\nno such thing: do that\\n\\n')")
    with pytest.raises(StartError, match=r"\(exit status 1\): no such thing: do that$"):
        await child.ready(20)


async def test_a_child_that_never_says_anything_is_given_up(start):
    child = start(WAIT)
    with pytest.raises(StartError, match=r"not ready after 0.05 s"):
        await child.ready(0.05)
    await child.bury()


@pytest.fixture
async def family(start):
    """A child and the pid of a descendant in its group."""
    adopt_orphans()
    reader, writer = os.pipe()
    child = start(
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(p.pid, flush=True)\n" + SAY_READY + WAIT,
        Stdio(subprocess.DEVNULL, writer),
    )
    await child.ready(20)
    os.close(writer)
    descendant = int(os.read(reader, 100))
    os.close(reader)
    assert alive(descendant)
    return child, descendant


async def test_burial_takes_the_whole_process_group(family):
    child, descendant = family
    child.kill()
    await child.died()
    await child.bury()
    assert not os.path.exists(f"/proc/{descendant}")


async def test_a_child_that_is_reaped_before_its_group_is_buried_all_the_same(family):
    child, descendant = family
    child.kill()
    await child.died()
    assert not child._reap()
    assert child.status is None
    child.kill()  # nobody is there any more
    assert alive(descendant)
    await child.bury()
    assert not os.path.exists(f"/proc/{descendant}")
    assert child.how_it_died() == "signal 9 (SIGKILL)"
    assert child.bury_at_once()


async def test_a_child_that_ends_in_order_is_not_killed(start):
    child = start(
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        + SAY_READY
        + WAIT
    )
    await child.ready(20)
    await child.end(trio.CancelScope())
    assert child.how_it_died() == "exit status 3"


async def test_patience_ends_with_sigkill(start):
    child = start("import signal; signal.signal(15, signal.SIG_IGN)\n" + SAY_READY + WAIT)
    await child.ready(20)
    await child.end(trio.CancelScope(deadline=trio.current_time() + 0.05))
    assert child.how_it_died() == "signal 9 (SIGKILL)"


async def test_one_that_is_stopped_is_not_waited_for(start):
    child = start("import signal; signal.signal(15, lambda *_: exit(3))\n" + SAY_READY + WAIT)
    await child.ready(20)
    child.stop()
    with trio.fail_after(60):
        await child.stopped()
        await child.end(trio.CancelScope())
    assert child.how_it_died() == "signal 9 (SIGKILL)"


async def test_one_that_is_stopped_while_it_ends_is_not_waited_for_either(start):
    child = start("import signal; signal.signal(15, signal.SIG_IGN)\n" + SAY_READY + WAIT)
    await child.ready(20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.end, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        assert child.status is None
        child.stop()
    assert child.how_it_died() == "signal 9 (SIGKILL)"


async def test_two_tasks_may_wait_for_one_death(start):
    child = start(SAY_READY + WAIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.died)
        nursery.start_soon(child.died)
        await child.ready(20)
        child.kill()
    await child.bury()
    await child.bury()


async def test_a_stop_is_noticed_and_a_stopped_child_is_buried(start):
    child = start(SAY_READY + WAIT)
    await child.ready(20)
    assert not child.exiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.stopped)
        child.stop()
    assert child.status is None
    await child.bury()
    assert child.exiting()


async def test_who_waits_for_a_stop_is_told_of_a_death(start):
    child = start(SAY_READY + WAIT)
    await child.ready(20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.stopped)
        child.kill()
    assert child.exiting()
    await child.bury()


async def test_waiting_for_a_stop_can_be_given_up(start):
    child = start(SAY_READY + WAIT)
    await child.ready(20)
    with trio.move_on_after(0) as scope:
        await child.stopped()
    assert scope.cancelled_caught
    await child.bury()


async def test_two_may_bury_one_child(start):
    child = start(SAY_READY + WAIT)
    await child.ready(20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.bury)
        nursery.start_soon(child.bury)
    assert child.status is not None


async def test_the_current_directory_is_not_imported_from(start, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "subprocess.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(trap)
    child = start("import subprocess\n" + SAY_READY + WAIT)
    await child.ready(20)
    await child.bury()


def test_statuses_in_words():
    assert describe_status(3 << 8) == "exit status 3"
    assert describe_status(11) == "signal 11 (SIGSEGV)"
    assert describe_status(40) == "signal 40"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EAGAIN, "again"), "again (raise the limit on processes (ulimit -u))"),
        (OSError(errno.ENOSPC, "full", "a.log"), "full: a.log (make room there)"),
        (OSError(errno.EPERM, "no"), "no"),
    ],
)
def test_what_the_host_does_not_allow_is_one_line(error, line):
    assert cannot_start(error) == f"could not be started: {line}"
