"""`splitvisor overlay`: look at the top files of overlay disks, keep or drop what is in them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from drivers import overlay_offline, registry
from drivers.interface import DriverError, Keep, MediumError
from drivers.spec import Spec
from splitvisor.cli.lone_driver import locked
from splitvisor.cli.paths import GivenPath
from splitvisor.conformance.awaited import adapt
from splitvisor.errors import UserError
from splitvisor.units import format_size

SILENCE = 2.0  # seconds of copying before it is shown how far it is

_TOP = click.argument("top", type=GivenPath(path_type=Path), metavar="TOP")
_BASE = click.argument("base", metavar="BASE")


@click.group()
def overlay() -> None:
    """Look at the top files of overlay disks, keep or drop what is in them.

    TOP is the file that the option 'path' of an overlay disk names. BASE is what it stands over:
    the path of an image or block device, or a disk's driver with its options, as in
    encrypt:key=k.bin,child=(file:path=a.img). What a machine is using is left alone.
    """


@overlay.command()
@_TOP
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with sizes in bytes.")
def info(top: Path, as_json: bool) -> None:
    """Show what TOP stands over and how much is in it.

    \b
    Examples:
      splitvisor overlay info web.top
      splitvisor overlay info web.top --json
    """
    with _told():
        found = overlay_offline.info(top)
    header = found.header
    if as_json:
        facts = {
            "size": header.size,
            "base": header.base,
            "base_size": header.base_size,
            "cluster": header.cluster,
            "clusters": header.clusters,
            "clusters_in_top": found.present,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    base = header.base or "an unknown base"
    click.echo(f"{top}: {format_size(header.size)} over {base} of {format_size(header.base_size)}")
    clusters = f"{found.present:,} of {header.clusters:,} clusters"
    click.echo(f"{clusters} of {format_size(header.cluster)} are in it")


@overlay.command()
@_TOP
@_BASE
def commit(top: Path, base: str) -> None:
    """Copy what is in TOP into BASE, and delete TOP.

    Other overlays over BASE are spoiled by that. If it is stopped in the middle, nothing is lost:
    do it again.

    \b
    Examples:
      splitvisor overlay commit web.top web.img
      splitvisor overlay commit web.top 'encrypt:key=k.bin,child=(file:path=web.img)'
    """
    spec = _spec(base)
    with _told(), _open(spec) as disk, _Shown() as shown:
        word = registry.content("block", spec)
        count = overlay_offline.commit(top, disk, word, shown.progress)
    click.echo(f"copied {_clusters(count)} into {base}; {top} is gone")


@overlay.command()
@_TOP
def discard(top: Path) -> None:
    """Delete TOP, with all that was written to it.

    \b
    Example:
      splitvisor overlay discard web.top
    """
    with _told():
        count = overlay_offline.discard(top)
    click.echo(f"{top} is gone, with {_clusters(count)}")


@overlay.command()
@_TOP
@_BASE
def rebase(top: Path, base: str) -> None:
    """Say that BASE is what TOP was made over, after it was moved, copied, or made larger.

    Nothing is compared: if it has another content, the disk has a mixture of both.

    \b
    Example:
      splitvisor overlay rebase web.top /images/web.img
    """
    spec = _spec(base, readonly=True)
    with _told(), _open(spec) as disk:
        overlay_offline.rebase(top, registry.content("block", spec), disk.size)
    click.echo(f"{top} stands over {base} now")


def _clusters(count: int) -> str:
    return "1 cluster" if count == 1 else f"{count:,} clusters"


def _spec(base: str, readonly: bool = False) -> str:
    """What names a driver is its spec, everything else a path."""
    name, colon, _ = base.partition(":")
    if colon and name in registry.names("block"):
        return base
    if not base:
        raise UserError("BASE is empty: name an image, or a disk's driver")
    options: dict[str, str | None] = {"path": base} | ({"readonly": None} if readonly else {})
    return str(Spec("file", options))


@contextmanager
def _open(spec: str) -> Iterator[Any]:
    with locked("block", spec):
        disk = registry.make("block", spec, Keep(Path("/nonexistent")), adapt)
        try:
            yield disk
        finally:
            disk.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DriverError as error:
        raise UserError(str(error)) from None
    except MediumError as error:
        raise UserError(f"nothing is lost, but it is not done: {error}") from None


class _Shown:
    """How far it is, on a terminal and if it takes long."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True) if console.is_terminal else None
        self._task: TaskID | None = None
        self._since = time.monotonic()

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.stop()

    def progress(self, done: int, count: int) -> None:
        """So many of so many."""
        if self._bar is None or time.monotonic() - self._since < SILENCE:
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("copying", total=count)
        self._bar.update(self._task, completed=done)
