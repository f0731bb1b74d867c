"""`splitvisor ps`: what runs, and what serves it."""

import json
from pathlib import Path

import click

from splitvisor.cli import client, render, render_sched
from splitvisor.supervisor.run_directory import running

_EPILOG = """
\b
Examples:
  splitvisor ps
  splitvisor ps --json | jq '.machines[].guests[] | {name, state}'
"""


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print everything there is to know as JSON.")
@click.pass_obj
def ps(root: Path, as_json: bool) -> None:
    """Show the machines that run, their guests and devices, and which process serves each."""
    there = running(root)
    machines = client.statuses(there)
    if as_json:
        click.echo(json.dumps({"machines": [render.plain(m) for m in machines]}, indent=2))
    elif not there:
        click.echo("no machine runs")
    else:
        console = render.console()
        for status in machines:
            console.print(render.title(status), style="bold", soft_wrap=True)
            console.print(render.guests_table(status), "")
            console.print(render_sched.vcpus_table(status), "")
            console.print(render.devices_table(status, console.width), "")
            if console.width < render.WIDE_TABLE:
                for device, remark in render.device_remarks(status).items():
                    console.print(f"{device}: {remark}", soft_wrap=True)
