"""`splitvisor balloon`: take memory from a running guest, or give it back."""

from pathlib import Path

import click

from splitvisor.cli import client
from splitvisor.errors import UserError
from splitvisor.machine import MAX_MEMORY
from splitvisor.units import format_size, parse_size


@click.command()
@click.argument("target", metavar="[MACHINE]/GUEST")
@click.argument("size")
@click.pass_obj
def balloon(root: Path, target: str, size: str) -> None:
    """Ask a guest to keep SIZE of its memory and give the rest back, or let it have more again.

    The guest must have a balloon ('balloon = true' in the machine file) and a driver for it, and it
    gives memory back as fast as it likes: 'splitvisor ps' shows what was asked for, what it keeps,
    and what the host really holds for it.

    \b
    Examples:
      splitvisor balloon lab/web 32M
      splitvisor balloon /web 64M
    """
    machine, guest = client.split_name(target)
    if not guest:
        raise UserError(f"{target!r} names no guest: write MACHINE/GUEST, or /GUEST")
    wanted = parse_size(size)
    if wanted > MAX_MEMORY:
        raise UserError(f"{size}: a guest has at most {format_size(MAX_MEMORY)}")
    status = client.set_balloon(client.choose(root, machine), guest, wanted)
    kept, asked = format_size(status.balloon_actual), format_size(status.balloon_target)
    click.echo(f"{status.name}: keeps {kept}, asked to keep {asked}")
