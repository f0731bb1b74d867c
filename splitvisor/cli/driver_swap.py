"""`splitvisor driver swap`: another driver for a device, while its guest uses it."""

import json
import os
from pathlib import Path

import click

from protos import operator_pb2 as operator
from splitvisor.cli import client, render
from splitvisor.cli.driver_copy import copy
from splitvisor.errors import UserError
from splitvisor.units import parse_size


@click.command()
@click.argument("target", metavar="[MACHINE/]GUEST/DEVICE")
@click.argument("spec")
@click.option(
    "--replace",
    is_flag=True,
    help="Give up what is on the disk: another one takes its place. Not while the guest uses it.",
)
@click.option(
    "--copy",
    "copies",
    is_flag=True,
    help="Copy what is on the disk to the other, which then takes its place. Ctrl-C ends that.",
)
@click.option("--rate", default="", metavar="SIZE", help="Copy so much a second at most: 50M.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def swap(
    root: Path, target: str, spec: str, replace: bool, copies: bool, rate: str, as_json: bool
) -> None:
    """Have the driver SPEC serve a device from now on, while its guest uses it.

    The new driver is opened beside the old one, which finishes what it has: the guest sees a pause
    of some milliseconds, and nothing fails. If the new one cannot serve, the old one goes on. A
    disk's new driver must serve the same content, and no smaller disk; with --copy the content is
    moved there first, while the guest goes on. Relative paths in SPEC start here.

    \b
    Examples:
      splitvisor driver swap web/disk0 'throttle:iops=500,child=(file:path=disk.img)'
      splitvisor driver swap lab/web/disk0 file:path=disk.img,direct
      splitvisor driver swap web/hvc0 null
      splitvisor driver swap web/disk0 file:path=/other/disk.img --copy
    """
    if copies:
        if replace:
            raise UserError("--copy keeps the content and --replace gives it up: leave one out")
        limit = parse_size(rate) if rate else 0
        if rate and not limit:
            raise UserError("--rate 0 copies nothing: leave it out, or give some bytes a second")
        machine, device = client.choose_device(root, target)
        wanted = operator.MigrateRequest(device=device, spec=spec, root=os.getcwd(), rate=limit)
        copy(machine, wanted, as_json)
        return
    if rate:
        raise UserError("--rate is of a copy: add --copy")
    machine, device = client.choose_device(root, target)
    request = operator.SwapDriverRequest(device=device, spec=spec, root=os.getcwd())
    request.content = operator.CONTENT_REPLACED if replace else operator.CONTENT_SAME
    reply = client.swap_driver(machine, request)
    if as_json:
        click.echo(json.dumps(render.plain(reply), indent=2))
    else:
        done = reply.swap
        click.echo(f"{device}: {done.old} → {done.new} in {done.pause_ms:.1f} ms")
