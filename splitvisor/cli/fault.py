"""`splitvisor fault`: make a service OS of a running machine misbehave, on purpose."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.cli import client, render
from splitvisor.cli.fault_parsing import LEAKED, MAX_COUNT, SLOWER, check_disk, parse_fault
from splitvisor.cli.fault_words import GARBLES, KINDS, POINT_HELP, POINTS, Kind, fault_text
from splitvisor.cli.numbers import WholeNumber
from splitvisor.errors import UserError
from splitvisor.supervisor.run_directory import Running, running

_POINT_TABLE = "\n".join(f"  {word:<17}{POINT_HELP[number]}" for word, number in POINTS.items())
_EPILOG = f"""
\b
Points, in the order of a device's life in a service OS:
{_POINT_TABLE}

\b
Examples:
  splitvisor fault kill
  splitvisor fault hang lab/storage --device web/disk0
  splitvisor fault kill --at mid-batch --nth 100
  splitvisor fault kill --standby --at promotion
  splitvisor fault slow --device web/disk0 --by 20ms && splitvisor fault ls
  splitvisor fault clear
"""


@click.group(epilog=_EPILOG)
def fault() -> None:
    """Make a service OS misbehave on purpose, and see that its guests do not notice.

    A fault acts on the incarnation that serves (or with --standby on the one that stands by), once
    unless --times says otherwise, and is gone with it unless told to come back. 'kill' and 'stop'
    without --at, --device, --nth and --sector are signals, sent at once to any service OS. All else
    acts from within, and needs a service OS with failpoints: 'failpoints = true' under
    [services.NAME] in the machine file, or --failpoints of 'splitvisor run' and 'up'. A fault that
    meets nothing, a sector beyond the disk's end for example, waits: see 'splitvisor fault ls'.
    """


def _injector(word: str, kind: Kind) -> click.Command:
    """The command for one kind of fault."""

    def inject(root: Path, target: str, as_json: bool, **options: Any) -> None:
        machine, service = client.split_name(target)
        request = operator.FaultRequest(standby=options["standby"], fault=_fault(word, options))
        request.service = service
        chosen = client.choose(root, machine)
        if request.fault.only_sector:
            check_disk(request.fault, client.status(chosen).guests)
        reply = client.inject_fault(chosen, request)
        if as_json:
            told = {"machine": chosen.name, **render.plain(reply)}
            click.echo(json.dumps({**told, "fault": render.plain(request.fault)}, indent=2))
        elif reply.id:
            what = fault_text(request.fault)
            click.echo(f"fault {reply.id} in pid {reply.pid} (epoch {reply.epoch}): {what}")
        else:
            click.echo(f"SIG{word.upper()} to pid {reply.pid} (epoch {reply.epoch})")

    parameters = [
        click.Argument(["target"], default="", metavar="[MACHINE[/SERVICE]]"),
        click.Option(["--device"], metavar="GUEST/DEVICE", help="Only of this device."),
        click.Option(
            ["--at"], type=click.Choice(list(POINTS)), metavar="POINT", help=_at_help(kind)
        ),
        click.Option(
            ["--nth"],
            type=WholeNumber(1, MAX_COUNT),
            metavar="N",
            help="Not before the N-th time that the point is passed.",
        ),
        click.Option(
            ["--times"],
            type=WholeNumber(0, MAX_COUNT),
            metavar="N",
            default=kind.times,
            help=f"Act so often; 0: for ever.  [default: {kind.times}]",
        ),
        click.Option(
            ["--sector"],
            type=WholeNumber(0, MAX_COUNT),
            metavar="N",
            help="Only disk requests that touch this sector of 512 bytes.",
        ),
        *_own_options(kind),
        click.Option(
            ["--every-incarnation"],
            is_flag=True,
            help="Come back in each incarnation that follows, as a request does that kills.",
        ),
        click.Option(["--standby"], is_flag=True, help="In the process that stands by."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print as JSON."),
    ]
    return click.Command(
        word,
        callback=click.pass_obj(inject),
        params=parameters,
        help=f"{kind.about}\n\n'splitvisor fault --help' explains the points.",
        epilog="\n".join(["\b", "Examples:", *(f"  {example}" for example in kind.examples)]),
    )


def _at_help(kind: Kind) -> str:
    usual = "at once" if kind.point == faults.ANYWHERE else "before-execute"
    if kind.point == faults.BEFORE_REPLY:
        usual = "before-reply"
    named = "; before-execute with --device, --nth or --sector" if usual == "at once" else ""
    return f"The point where it acts.  [default: {usual}{named}]"


def _own_options(kind: Kind) -> Iterator[click.Option]:
    if kind.number == faults.SLOW:
        yield click.Option(
            ["--by"], default=SLOWER, show_default=True, metavar="TIME", help="More."
        )
    if kind.number == faults.LEAK:
        yield click.Option(
            ["--bytes"], default=LEAKED, show_default=True, metavar="SIZE", help="Of it."
        )
    if kind.number == faults.GARBLE:
        how = "What is wrong: 'length' is longer than the buffer, 'twice' an answer sent again."
        yield click.Option(
            ["--how"], type=click.Choice(list(GARBLES)), default="some", show_default=True, help=how
        )
        seed = "Decides what is wrong with --how some."
        yield click.Option(["--seed"], type=WholeNumber(0, MAX_COUNT), default=0, help=seed)


def _fault(word: str, options: Mapping[str, Any]) -> faults.Fault:
    device = options["device"] or ""
    if device and "/" not in device:
        raise UserError(f"--device {device!r}: write GUEST/DEVICE, as in web/disk0")
    return parse_fault(
        word,
        options["at"] or "",
        device,
        nth=options["nth"] or 0,
        times=options["times"],
        by=options.get("by", ""),
        size=options.get("bytes", ""),
        how=options.get("how", "some"),
        sector=options["sector"],
        seed=options.get("seed", 0),
        every_incarnation=options["every_incarnation"],
    )


@fault.command("ls")
@click.argument("target", default="", metavar="[MACHINE[/SERVICE]]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def ls(root: Path, target: str, as_json: bool) -> None:
    """Show the faults in those that serve, how often a match came by, and how often they acted.

    \b
    Examples:
      splitvisor fault ls
      splitvisor fault ls lab/storage --json
    """
    name, service = client.split_name(target)
    machines = [client.choose(root, name)] if name or service else _answering(root)
    found = [
        (machine.name, one, armed)
        for machine in machines
        for one in ([service] if service else _with_failpoints(machine))
        for armed in client.list_faults(machine, one)
    ]
    if as_json:
        plain = [{"machine": m, "service": s, **render.plain(armed)} for m, s, armed in found]
        click.echo(json.dumps({"faults": plain}, indent=2))
    elif not found:
        click.echo("no faults")
    else:
        columns = ("machine", "service", "id", "fault", "came by", "acted")
        rows = render.table(columns, right=("id", "came by", "acted"))
        for machine_name, one, armed in found:
            counts = (f"{armed.passed:,}", f"{armed.acted:,}")
            rows.add_row(machine_name, one, str(armed.id), fault_text(armed.fault), *counts)
        render.console().print(rows)


@fault.command()
@click.argument("target", default="", metavar="[MACHINE[/SERVICE]]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def clear(root: Path, target: str, as_json: bool) -> None:
    """Take back all faults of a service OS, also those that would come back.

    Without a name, of all service OSes of the machine that have failpoints. What a fault has done
    is not undone.

    \b
    Examples:
      splitvisor fault clear
      splitvisor fault clear lab/storage
    """
    name, service = client.split_name(target)
    machine = client.choose(root, name)
    services = [service] if service else _with_failpoints(machine)
    cleared = sum(client.clear_faults(machine, one) for one in services)
    click.echo(json.dumps({"cleared": cleared}) if as_json else f"faults taken back: {cleared}")


def _answering(root: Path) -> list[Running]:
    there = running(root)
    names = {status.name for status in client.statuses(there)}
    return [machine for machine in there if machine.name in names]


def _with_failpoints(machine: Running) -> list[str]:
    return [service.name for service in client.status(machine).services if service.failpoints]


for _word, _kind in KINDS.items():
    fault.add_command(_injector(_word, _kind))
