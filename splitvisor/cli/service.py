"""`splitvisor service`: the service OSes of running machines."""

import json
from pathlib import Path

import click

from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.cli import client, render, render_service
from splitvisor.supervisor.run_directory import running


@click.group()
def service() -> None:
    """Look at the service OSes, which own the device drivers; kill or replace one."""


@service.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with moments in ns.")
@click.pass_obj
def status(root: Path, machine: str, as_json: bool) -> None:
    """Show who serves and who stands by, deaths, and the last outage with its steps.

    An outage begins when the service OS was killed, if somebody ordered that, and else when its
    death was noticed.

    \b
    Examples:
      splitvisor service status
      splitvisor service status lab --json
    """
    there = running(root)
    found = [client.status(client.choose(root, machine))] if machine else client.statuses(there)
    if as_json:
        rows = [{"machine": m.name, **render.plain(s)} for m in found for s in m.services]
        click.echo(json.dumps({"services": rows}, indent=2))
    elif not there:
        click.echo("no machine runs")
    else:
        console = render.console()
        console.print(render_service.services_table(found, console.width))
        for one in found:
            for line in render_service.service_lines(one):
                console.print(line, soft_wrap=True)


@service.command()
@click.argument("target", default="", metavar="[MACHINE[/SERVICE]]")
@click.option(
    "--standby", is_flag=True, help="The process that stands by, not the one that serves."
)
@click.pass_obj
def kill(root: Path, target: str, standby: bool) -> None:
    """Kill a service OS with SIGKILL, under whatever it is doing.

    Its standby takes over, or it is started again, and what was in flight is replayed; guests only
    see that it takes longer. Names may be left out where there is just one.

    \b
    Examples:
      splitvisor service kill
      splitvisor service kill lab/storage
      splitvisor service kill --standby
    """
    machine, name = client.split_name(target)
    chosen = client.choose(root, machine)
    if standby:
        fault = faults.Fault(action=faults.KILL)
        request = operator.FaultRequest(service=name, standby=True, fault=fault)
        struck = client.inject_fault(chosen, request)
        click.echo(f"killed pid {struck.pid} (epoch {struck.epoch}), which stood by")
    else:
        reply = client.kill_service(chosen, name)
        click.echo(f"killed pid {reply.pid} (epoch {reply.epoch})")


@service.command()
@click.argument("target", default="", metavar="[MACHINE[/SERVICE]]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def upgrade(root: Path, target: str, as_json: bool) -> None:
    """Replace a service OS by a fresh one, with the code and drivers that are installed now.

    The new one is started and opens all devices before the old one finishes what it has and hands
    over: guests see a pause of some milliseconds, and nothing fails. If the new one cannot start,
    the old one serves on. Devices in quarantine are given back.

    \b
    Examples:
      pip install --upgrade ./mydriver && splitvisor service upgrade
      splitvisor service upgrade lab/storage
    """
    machine, name = client.split_name(target)
    reply = client.upgrade_service(client.choose(root, machine), name)
    if as_json:
        click.echo(json.dumps(render.plain(reply), indent=2))
    else:
        click.echo(f"pid {reply.pid} (epoch {reply.epoch}) serves, pause {reply.pause_ms:.1f} ms")


@service.command()
@click.argument("target", metavar="[MACHINE/]GUEST/DEVICE")
@click.pass_obj
def release(root: Path, target: str) -> None:
    """Take a device out of quarantine: its service OS serves it again.

    A device is put there when its requests killed one service OS after the other. They are still
    there: mend the driver first, or have 'splitvisor service upgrade' do both. All devices of its
    service OS are handed over; if that cannot be, 'splitvisor events' says that it stays there.

    \b
    Examples:
      splitvisor service release lab/web/disk0
      splitvisor service release web/disk0
    """
    machine, device = client.split_device(target)
    client.release_device(client.choose(root, machine), device)
    click.echo(f"{device} is given back to its service OS")
