"""A child process from exec to burial.

The pidfd says that it died, at once and of exactly this process. Dying is not the end of it: a
descendant in its process group may still write to a disk. So the group is killed and everything
in it is waited for before anybody hears that the child is gone. Descendants become our children
when their parent dies (`adopt_orphans`), or they could not be waited for.

Children are started from the main thread: they ask to be killed when their parent dies, and the
kernel takes the *thread* that started them for the parent.
"""

import ctypes
import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_PF_EXITING = 4  # include/linux/sched.h; among the flags of proc_pid_stat(5)
_CURES = {
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOSPC: "make room there",
}
_WAITING = trio.CapacityLimiter(math.inf)  # threads that wait for stops, one for each child


@dataclass(frozen=True, slots=True)
class Stdio:
    """File descriptors for a child's standard input and output."""

    stdin: int
    stdout: int


NOWHERE = Stdio(subprocess.DEVNULL, subprocess.DEVNULL)


class StartError(Exception):
    """The child died or fell silent before it was ready: one line, without the child's name."""


class Child:
    """One process; made by `spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], ready: int, log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self.status: int | None = None  # as of waitpid, once reaped
        self._process = process
        self._status: int | None = None  # of the child, while the rest of its group is reaped
        self._ready = ready
        self._burial = trio.Lock()
        self._pidfd = os.pidfd_open(process.pid)

    async def ready(self, deadline: float) -> None:
        """Wait for its byte on the readiness pipe; StartError if it dies or takes too long (s)."""
        said = b""
        with trio.move_on_after(deadline) as scope:
            await trio.lowlevel.wait_readable(self._ready)
            said = os.read(self._ready, 1)
        if scope.cancelled_caught:
            raise StartError(f"was not ready after {deadline:g} s{self._last_words()}")
        if not said:
            await self.bury()
            raise StartError(f"could not start ({self.how_it_died()}){self._last_words()}")

    async def died(self) -> None:
        """Wait until the process is dead; it stays a zombie, so its pid stays its own.

        On a descriptor of its own: epoll goes on watching a file that is closed while a duplicate
        is open, and would wake whoever waits for the next descriptor of that number.
        """
        if self._status is not None:
            return
        fd = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(fd)
        finally:
            os.close(fd)

    async def stopped(self) -> None:
        """Wait until it is stopped by a signal, or dead; a debugger's stops are the debugger's.

        The thread that waits is left behind when this is cancelled; it ends with the process.
        """
        fd = os.dup(self._pidfd)
        await trio.to_thread.run_sync(_wait_for_stop, fd, abandon_on_cancel=True, limiter=_WAITING)

    def exiting(self) -> bool:
        """Whether it is dead or on its way there; its descriptors are closed before it is dead."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return True
        return fields[0] in b"ZX" or bool(int(fields[6]) & _PF_EXITING)

    def terminate(self) -> None:
        """Ask it to end in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the process alone; for its supervisor that is a death like any other."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP the process alone."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        if self.status is None:
            with suppress(ProcessLookupError):  # reaped, while others of its group live on
                signal.pidfd_send_signal(self._pidfd, number)

    async def bury(self) -> None:
        """SIGKILL its group and wait until all of it is reaped, however long that takes."""
        with trio.CancelScope(shield=True):
            async with self._burial:
                if self.status is not None:
                    return
                self._kill_group()
                await self.died()
                while not self._reap():
                    await trio.to_thread.run_sync(_wait_for_group, self.pid)

    def bury_at_once(self) -> bool:
        """Do so if nothing of it lives; whether it is buried."""
        if self.status is None and not self._burial.locked() and self.exiting():
            self._kill_group()
            return self._reap()
        return self.status is not None

    async def end(self, patience: trio.CancelScope) -> None:
        """SIGTERM, wait while `patience` lasts, then bury; at once if it is stopped."""
        self.terminate()
        with patience:
            if self.status is None:
                await self.stopped()
        await self.bury()

    def how_it_died(self) -> str:
        """`exit status 2` or `signal 9 (SIGKILL)`; only once buried."""
        assert self.status is not None
        return describe_status(self.status)

    def killed(self) -> bool:
        """Whether a signal ended it, and no status of its own."""
        return self.status is not None and os.WIFSIGNALED(self.status)

    def lines(self) -> list[str]:
        """The lines of its log that say something."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return []
        return [line.rstrip() for line in lines if line.strip()]

    def last_line(self) -> str:
        """The last of `lines`, or nothing."""
        return next((line.strip() for line in reversed(self.lines())), "")

    def _last_words(self) -> str:
        line = self.last_line()
        return f": {line}" if line else ""

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # dead before it had a group of its own
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()

    def _reap(self) -> bool:
        """What is dead of the group; whether that was the rest of it."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-self.pid, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self.pid:
                    self._status = status
        self.status = self._status or 0
        self._process.returncode = os.waitstatus_to_exitcode(self.status)
        os.close(self._pidfd)
        os.close(self._ready)
        return True


def spawn(
    module: str,
    arguments: Sequence[str],
    log: Path,
    stdio: Stdio,
    env: Mapping[str, str],
    *,
    apart: bool = False,
) -> Child:
    """Exec `python -m module` in a process group of its own; `--ready-fd` ends its arguments.

    OSError if the host does not let us: see `cannot_start`.

    Linux shares the CPUs out among sessions first (autogroups, see sched(7)). Only one that is
    `apart` has a session of its own, with as much of them as all others of ours together; among
    those, whoever serves goes before whoever starts to stand by.
    """
    # -P: what lies about in the current directory is not to be imported.
    command = [sys.executable, "-P", "-m", module, *arguments]
    ready, inherited = os.pipe()
    try:
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(inherited)],
                stdin=stdio.stdin,
                stdout=stdio.stdout,
                stderr=errors,
                env=dict(env),
                pass_fds=(inherited,),
                start_new_session=apart,
                process_group=None if apart else 0,
            )
    except BaseException:
        os.close(ready)
        raise
    finally:
        os.close(inherited)
    return Child(process, ready, log)


def cannot_start(error: OSError) -> str:
    """Why `spawn` failed, in one line, as StartError has it."""
    where = f": {error.filename}" if error.filename else ""
    cure = _CURES.get(error.errno or 0)
    return f"could not be started: {error.strerror}{where}{f' ({cure})' if cure else ''}"


def describe_status(status: int) -> str:
    """What a status of waitpid says, for people."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_group(group: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PGID, group, os.WEXITED | os.WNOWAIT)


def _wait_for_stop(pidfd: int) -> None:
    try:
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, pidfd, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    finally:
        os.close(pidfd)
