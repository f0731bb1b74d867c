"""`splitvisor service`: the service OSes of running machines."""

import json
from pathlib import Path

import click

from splitvisor.cli import client, render
from splitvisor.supervisor.run_directory import running


@click.group()
def service() -> None:
    """Look at the service OSes, which own the device drivers, or kill one."""


@service.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def status(root: Path, machine: str, as_json: bool) -> None:
    """Show pid, epoch, deaths and the last outage of every service OS.

    \b
    Examples:
      splitvisor service status
      splitvisor service status lab --json
    """
    chosen = [client.choose(root, machine)] if machine else running(root)
    found = [client.status(one) for one in chosen]
    if as_json:
        rows = [{"machine": m.name, **render.plain(s)} for m in found for s in m.services]
        click.echo(json.dumps({"services": rows}, indent=2))
    elif not found:
        click.echo("no machine runs")
    else:
        render.console().print(render.services_table(found))


@service.command()
@click.argument("target", default="", metavar="[MACHINE[/SERVICE]]")
@click.pass_obj
def kill(root: Path, target: str) -> None:
    """Kill a service OS with SIGKILL, under whatever it is doing.

    It is started again and what was in flight is replayed; guests only see that it takes longer.
    Names may be left out where there is just one.

    \b
    Examples:
      splitvisor service kill
      splitvisor service kill lab/storage
    """
    machine, name = client.split_name(target)
    reply = client.kill_service(client.choose(root, machine), name)
    click.echo(f"killed pid {reply.pid} (epoch {reply.epoch})")
