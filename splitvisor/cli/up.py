"""`splitvisor up`: the machine of a file, on this terminal or in the background."""

import dataclasses
import sys
from pathlib import Path

import click
import trio

from protos import core_pb2 as core
from splitvisor import machine_file
from splitvisor.cli import detach
from splitvisor.cli import status as exit_status
from splitvisor.cli.launch import TERMINAL, Story, launch, note
from splitvisor.cli.narrate import describe, is_stall, is_wait
from splitvisor.cli.paths import GivenPath
from splitvisor.errors import UserError
from splitvisor.machine import Machine
from splitvisor.supervisor import events
from splitvisor.supervisor.child import NOWHERE
from splitvisor.supervisor.supervisor import Supervisor

_EPILOG = """
\b
Exit status:
  0    'splitvisor stop' ended the machine; with --until-idle: all guests exited with 0;
       with --detach: all guests have been started
  1    with --until-idle: a guest ended in another way
  2    a mistake in the file or the options, told in one line
  126  the machine failed, its core died for example; or output cannot be written
  130  Ctrl-C;  143  SIGTERM
  141  nobody reads standard output any more, or with --while-heard standard error

\b
Examples:
  splitvisor up lab.toml
  splitvisor up --detach lab.toml && splitvisor ps
  splitvisor up -d --failpoints lab.toml && splitvisor fault hang --device web/disk0

\b
Example of a machine file:
  [guests.web]
  image = "build/guests/blockcheck"
  arguments = "depth=8"
  console = "log:path=web.log"
  com1 = false
  disks = ["file:path=disk.img"]
\b
  [guests.echo]
  image = "build/guests/echo"
  outage = "error after 2s"
\b
  [services.service]
  standby = false
"""


@click.command(epilog=_EPILOG)
@click.argument("file", type=GivenPath(path_type=Path), metavar="MACHINE.toml")
@click.option("--until-idle", is_flag=True, help="End when all guests have ended.")
@click.option(
    "-d",
    "--detach",
    "detached",
    is_flag=True,
    help="Return when all guests have been started, print the machine's name, and leave it running "
    "in the background. A console on the terminal goes to GUEST.DEVICE.out in the run directory "
    "and gets no input; what happens to the machine is told in supervisor.log there.",
)
@click.option(
    "--no-watchdog",
    is_flag=True,
    help="Do not replace a service OS that lives and does nothing, whatever the file says.",
)
@click.option(
    "--failpoints",
    is_flag=True,
    help="Let 'splitvisor fault' act inside all service OSes, whatever the file says.",
)
@click.option(
    "--while-heard",
    is_flag=True,
    help="End when nobody reads standard error any more: for programs that start machines, and may "
    "die without ending them.",
)
@click.option("--ready-fd", type=int, hidden=True, help="What --detach starts itself with.")
@click.pass_obj
def up(
    root: Path,
    file: Path,
    until_idle: bool,
    detached: bool,
    no_watchdog: bool,
    failpoints: bool,
    while_heard: bool,
    ready_fd: int | None,
) -> int:
    """Start all guests of MACHINE.toml and keep them running until Ctrl-C or 'splitvisor stop'.

    Standard output carries what guests print on the terminal; what happens to the machine is told
    on standard error. Relative paths in the file start at the file.
    """
    if detached:
        if while_heard:
            raise UserError("--while-heard and --detach: nobody hears what is in the background")
        flags = {
            "--until-idle": until_idle,
            "--no-watchdog": no_watchdog,
            "--failpoints": failpoints,
        }
        return detach.start(root, file, [flag for flag, given in flags.items() if given])
    machine = machine_file.read(file)
    if no_watchdog:
        machine = with_settings(machine, watchdog=False)
    if failpoints:
        machine = with_settings(machine, failpoints=True)
    background = None if ready_fd is None else detach.Detached(ready_fd, machine, root)
    story = Story()
    ended: list[core.GuestStatus] = []

    async def body(supervisor: Supervisor) -> None:
        if background and not background.started(root / machine.name):
            return
        story.begin()
        note(f"machine {machine.name} runs: {', '.join(g.name for g in machine.guests)}")
        async with trio.open_nursery() as nursery:
            for guest in machine.guests:
                nursery.start_soon(watch, supervisor, guest.name)
            if not until_idle:
                await trio.sleep_forever()

    async def watch(supervisor: Supervisor, name: str) -> None:
        status = await supervisor.guests.wait(name)
        ended.append(status)
        if fault := exit_status.fault_text(status):
            print(fault, file=sys.stderr, flush=True)

    def report(event: events.SupervisorEvent) -> None:
        if not is_stall(event) and (line := describe(event)):
            (note if is_wait(event) else story.tell)(line)

    started = background.machine if background else machine
    stdio = NOWHERE if background else TERMINAL
    reason = launch(started, root, report, body, stdio=stdio, while_heard=while_heard)
    note(f"machine {machine.name} has ended{f' ({reason})' if reason else ''}")
    if reason:
        return 0 if reason == "stopped" else exit_status.of_end(reason)
    return int(any(exit_status.of_guest(status) for status in ended))


def with_settings(machine: Machine, **changed: bool) -> Machine:
    """The machine, with these settings for each of its service OSes."""
    settings = {
        name: dataclasses.replace(machine.settings_of(name), **changed) for name in machine.services
    }
    return dataclasses.replace(machine, settings=settings)
