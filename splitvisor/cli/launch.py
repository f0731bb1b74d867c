"""Running a machine from a command: everything checked, then the supervisor."""

import sys
from pathlib import Path

import trio

from splitvisor.cli.terminal import cbreak
from splitvisor.machine import Machine
from splitvisor.supervisor import ending
from splitvisor.supervisor.child import Stdio
from splitvisor.supervisor.events import Report
from splitvisor.supervisor.plan import prepare
from splitvisor.supervisor.run_directory import RunDirectory, claim
from splitvisor.supervisor.supervisor import Body, supervise

TERMINAL = Stdio(0, 1)


def launch(
    machine: Machine,
    root: Path,
    report: Report,
    body: Body,
    *,
    stdio: Stdio = TERMINAL,
    rename: bool = False,
) -> str:
    """Run `machine` while `body` runs; what ended it from outside, see supervise.

    With `rename`, the machine gets another name if a running one has it already.
    """
    plan = prepare(machine)

    def claimed() -> RunDirectory:
        return claim(root, machine.name, machine.services, rename=rename)

    with ending.held() as signals, cbreak(stdio.stdin):
        return trio.run(supervise, plan, claimed, signals, stdio, report, body)


def note(line: str) -> None:
    """Say something beside the guests' output."""
    print(f"splitvisor: {line}", file=sys.stderr, flush=True)
