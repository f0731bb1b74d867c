"""`splitvisor events`: what happens in a running machine, as it happens."""

import json
from pathlib import Path

import click

from protos import core_pb2 as core
from splitvisor.cli import client, render, render_sched
from splitvisor.cli.narrate import describe
from splitvisor.errors import UserError
from splitvisor.supervisor import events as told
from splitvisor.units import parse_duration

MIN_ACCOUNTING_MS, MAX_ACCOUNTING_MS = 10, 3_600_000


@click.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.option(
    "--accounting",
    metavar="TIME",
    help="Where the time of all vCPUs went, that often, as 1s; at least 10ms.",
)
@click.option("--json", "as_json", is_flag=True, help="An object a line, with everything in it.")
@click.pass_obj
def events(root: Path, machine: str, accounting: str | None, as_json: bool) -> None:
    """Follow what happens to the guests of a machine and their devices, until it ends or Ctrl-C.

    \b
    Examples:
      splitvisor events
      splitvisor events lab --accounting 1s --json
    """
    period_ms = 0
    if accounting is not None:
        period_ms = parse_duration(accounting) // 1_000_000
        if not MIN_ACCOUNTING_MS <= period_ms <= MAX_ACCOUNTING_MS:
            limits = f"{MIN_ACCOUNTING_MS}ms to {MAX_ACCOUNTING_MS // 1000}s"
            raise UserError(f"--accounting {accounting}: give {limits}")
    for event in client.events(client.choose(root, machine), period_ms):
        if as_json:
            click.echo(json.dumps(render.plain(event)))
        elif event.kind == core.EVENT_ACCOUNTING:
            for vcpu in event.vcpus:
                click.echo(f"{event.guest}/{vcpu.index}: {render_sched.account_text(vcpu)}")
        elif line := describe(told.GuestEvent(event)):
            click.echo(line)
