"""A disk that moves to another driver: shown while it lasts, and ended by Ctrl-C.

The copy is the machine's own and goes on when whoever asked for it has gone; an interrupt therefore
says that it is to end, and waits for that.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from protos import operator_pb2 as operator
from splitvisor.cli import client, render
from splitvisor.cli.launch import note
from splitvisor.cli.migration_words import outcome
from splitvisor.errors import UserError
from splitvisor.supervisor.run_directory import Running

LOOK = 0.2  # seconds


def copy(machine: Running, request: operator.MigrateRequest, as_json: bool) -> None:
    """Have it done; comes back when it is. UserError if it is not; a signal ends it first."""
    try:
        last = _follow(machine, client.migrate_disk(machine, request), as_json)
    except SystemExit:  # which is what a signal comes as
        last = client.abort_migration(machine, request.device)
        if as_json:
            click.echo(json.dumps(render.plain(last)))
        note(outcome(last))
        raise
    if last.state != operator.MIGRATION_DONE:
        raise UserError(outcome(last))
    if not as_json:
        click.echo(outcome(last))


def _follow(machine: Running, begun: operator.Migration, as_json: bool) -> operator.Migration:
    last = begun
    with ExitStack() as stack:
        bar = None if as_json else stack.enter_context(_bar())
        task = bar.add_task(begun.device, total=None) if bar else None
        for last in _looks(machine, begun):
            if as_json:
                click.echo(json.dumps(render.plain(last)))
            if bar is not None and task is not None:
                bar.update(task, total=last.total or None, completed=last.done)
    return last


def _looks(machine: Running, migration: operator.Migration) -> Iterator[operator.Migration]:
    while True:
        yield migration
        if migration.state >= operator.MIGRATION_DONE:
            return
        time.sleep(LOOK)
        migration = client.migration(machine, migration.device)


def _bar() -> Progress:
    """On standard error, for as long as it moves; nothing where that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
