"""`splitvisor driver ls`: the drivers that are installed."""

import json
from dataclasses import asdict

import click

from drivers.options import nearest
from splitvisor.cli import render
from splitvisor.cli.driver_facts import installed, kinds
from splitvisor.errors import UserError


@click.command()
@click.option("--kind", metavar="KIND", help="Only those for devices of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def ls(kind: str | None, as_json: bool) -> None:
    """Show the drivers that are installed, where they come from, and what they are.

    \b
    Examples:
      splitvisor driver ls
      splitvisor driver ls --kind block --json
    """
    if kind and kind not in kinds():
        raise UserError(f"no driver is of kind {kind!r}{nearest(kind, kinds())}")
    found = installed(kind)
    if as_json:
        click.echo(json.dumps({"drivers": [asdict(facts) for facts in found]}, indent=2))
        return
    rows = render.table(("driver", "package", "what it is"), right=())
    rows.columns[-1].no_wrap = False
    for facts in found:
        package = f"{facts.package} {facts.version}".strip() or "unknown"
        rows.add_row(facts.entry, package, facts.summary or facts.problem)
    render.console().print(rows)
