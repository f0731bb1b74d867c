"""`splitvisor driver abort`: a disk stays where it is after all."""

import json
from pathlib import Path

import click

from protos import operator_pb2 as operator
from splitvisor.cli import client, render
from splitvisor.cli.migration_words import outcome
from splitvisor.errors import UserError


@click.command()
@click.argument("target", metavar="[MACHINE/]GUEST/DEVICE")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def abort(root: Path, target: str, as_json: bool) -> None:
    """End the copy of a disk that 'driver swap --copy' has begun: the old driver serves on.

    \b
    Example:
      splitvisor driver abort web/disk0
    """
    machine, device = client.choose_device(root, target)
    ended = client.abort_migration(machine, device)
    if as_json:
        click.echo(json.dumps(render.plain(ended), indent=2))
    elif ended.state == operator.MIGRATION_ABORTED:
        click.echo(outcome(ended))
    if ended.state == operator.MIGRATION_DONE:
        raise UserError(f"it was too late: {outcome(ended)}")
    if ended.state == operator.MIGRATION_FAILED:
        raise UserError(outcome(ended))
