"""`splitvisor events`: what happens in a running machine, as it happens."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli import client, render, render_sched
from splitvisor.cli.narrate import describe, service_line
from splitvisor.errors import UserError
from splitvisor.supervisor import events as told
from splitvisor.units import parse_duration

_BEGIN = (operator.SERVICE_DETECTED, operator.SERVICE_UPGRADE_BEGUN)
_END = (operator.SERVICE_RECOVERED, operator.SERVICE_UPGRADE_FAILED)
MIN_ACCOUNTING_MS, MAX_ACCOUNTING_MS = 10, 3_600_000


@click.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.option(
    "--accounting",
    metavar="TIME",
    help="Where the time of all vCPUs went, that often, as 1s; at least 10ms.",
)
@click.option("-f", "--follow", is_flag=True, help="What it does anyway.")
@click.option("--json", "as_json", is_flag=True, help="An object a line, with everything in it.")
@click.pass_obj
def events(
    root: Path,
    machine: str,
    accounting: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Follow what happens to a machine, from now on and until it ends or Ctrl-C.

    To its guests and their devices, and to its service OSes: each line with the time of day, and
    while an outage lasts with the time since it was noticed.

    \b
    Examples:
      splitvisor events
      splitvisor events lab --follow --accounting 1s
      splitvisor events --json | jq 'select(.kind == "recovered").outage'
    """
    period_ms = 0
    if accounting is not None:
        period_ms = parse_duration(accounting) // 1_000_000
        if not MIN_ACCOUNTING_MS <= period_ms <= MAX_ACCOUNTING_MS:
            limits = f"{MIN_ACCOUNTING_MS}ms to {MAX_ACCOUNTING_MS // 1000}s"
            raise UserError(f"--accounting {accounting}: give {limits}")
    clock = _Clock()
    for message in client.events(client.choose(root, machine), period_ms):
        if as_json:
            click.echo(json.dumps(_plain(message)))
        else:
            stamp = clock.stamp(message)
            for line in _lines(message):
                click.echo(f"{stamp} {line}")


def _plain(message: operator.MachineEvent) -> dict[str, Any]:
    if message.HasField("service"):
        return {"from": "supervisor", **render.plain(message.service)}
    return {"from": "core", **render.plain(message.core)}


def _lines(message: operator.MachineEvent) -> Iterator[str]:
    event = message.core
    if message.HasField("service"):
        yield service_line(message.service)
    elif event.kind == core.EVENT_ACCOUNTING:
        for vcpu in event.vcpus:
            yield f"{event.guest}/{vcpu.index}: {render_sched.account_text(vcpu)}"
    elif line := describe(told.GuestEvent(event)):
        yield line


class _Clock:
    """Times for people from those of CLOCK_MONOTONIC, which has run since this host was started."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self._noticed: dict[str, int] = {}  # when, for each service OS that is out

    def stamp(self, message: operator.MachineEvent) -> str:
        """The time of day, and how long the event's service OS has been out, if it is."""
        event = message.service if message.HasField("service") else message.core
        at, service = event.monotonic_ns, event.service
        begun = self._noticed.get(service)
        if message.service.kind in _BEGIN:
            self._noticed.setdefault(service, at)
        elif message.service.kind in _END:
            self._noticed.pop(service, None)
        seconds, ns = divmod(at + self._offset, 1_000_000_000)
        clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ns // 1_000_000:03}"
        if begun is None or at < begun:  # what the core saw may come later than what followed it
            return clock
        return f"{clock} +{(at - begun) / 1e6:.1f} ms"
