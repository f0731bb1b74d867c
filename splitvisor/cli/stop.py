"""`splitvisor stop`: end a machine, or one of its guests."""

from pathlib import Path

import click

from splitvisor.cli import client

_EPILOG = """
\b
Examples:
  splitvisor stop             the machine, when just one runs
  splitvisor stop lab         machine lab
  splitvisor stop lab/echo    guest echo of machine lab
  splitvisor stop /echo       guest echo of the only machine
"""


@click.command(epilog=_EPILOG)
@click.argument("target", default="", metavar="[MACHINE[/GUEST]]")
@click.pass_obj
def stop(root: Path, target: str) -> None:
    """End a machine, or one guest of it as if its power were cut; return when it has ended.

    Disks are flushed. The machine may be left out when just one runs.
    """
    machine, guest = client.split_name(target)
    client.stop(client.choose(root, machine), guest)
