"""Running a machine from a command: everything checked, then the supervisor."""

import gc
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from splitvisor.cli.terminal import cbreak
from splitvisor.machine import Machine
from splitvisor.supervisor import ending
from splitvisor.supervisor.child import Stdio
from splitvisor.supervisor.events import Report
from splitvisor.supervisor.plan import prepare
from splitvisor.supervisor.reader import reader_gone
from splitvisor.supervisor.run_directory import RunDirectory, claim
from splitvisor.supervisor.supervisor import Body, Supervisor, supervise

TERMINAL, ERRORS = Stdio(0, 1), 2


def launch(
    machine: Machine,
    root: Path,
    report: Report,
    body: Body,
    *,
    stdio: Stdio = TERMINAL,
    rename: bool = False,
    while_heard: bool = False,
) -> str:
    """Run `machine` while `body` runs; what ended it from outside, see supervise.

    With `rename`, the machine gets another name if a running one has it already. It ends when
    nobody reads what its guests print, and with `while_heard` also when nobody reads stderr.
    """
    plan = prepare(machine)
    read = [ERRORS] if while_heard else []
    if stdio is TERMINAL and any(
        device.on_terminal() for guest in machine.guests for device in guest.devices
    ):
        read.append(TERMINAL.stdout)

    def claimed() -> RunDirectory:
        return claim(root, machine.name, machine.services, rename=rename)

    gc.freeze()  # what is imported stays, and is not looked through again while the machine runs
    with ending.held() as signals, cbreak(stdio.stdin):
        return trio.run(supervise, plan, claimed, signals, stdio, report, _while_read(body, read))


class Story:
    """What happens to a machine; kept back until it has started, for a failure is one line."""

    def __init__(self) -> None:
        self._kept: list[str] | None = []

    def tell(self, line: str) -> None:
        """As `note`, but later if it is too early."""
        if self._kept is None:
            note(line)
        else:
            self._kept.append(line)

    def begin(self) -> None:
        """Tell what was kept, and everything else at once."""
        kept, self._kept = self._kept or [], None
        for line in kept:
            note(line)


def note(line: str) -> None:
    """Say something beside the guests' output; to nobody if nobody listens."""
    with suppress(BrokenPipeError):
        print(f"splitvisor: {line}", file=sys.stderr, flush=True)


def _while_read(body: Body, fds: Sequence[int]) -> Body:
    """`body`, and the end of the machine when nobody reads one of these any more."""

    async def stop_unread(supervisor: Supervisor, fd: int) -> None:
        await reader_gone(fd)
        supervisor.stop(signal.SIGPIPE.name)

    async def both(supervisor: Supervisor) -> None:
        async with trio.open_nursery() as nursery:
            for fd in fds:
                nursery.start_soon(stop_unread, supervisor, fd)
            await body(supervisor)
            nursery.cancel_scope.cancel()

    return both
