"""`splitvisor sched`: how the vCPUs of running machines share their pCPUs, and changing that."""

import json
from pathlib import Path

import click

from policies.parameters import MAX_CAP, MAX_PERIOD_NS, MAX_WEIGHT, MIN_WEIGHT
from protos import operator_pb2 as operator
from splitvisor.cli import client, render, render_sched
from splitvisor.cli.numbers import WholeNumber
from splitvisor.errors import UserError
from splitvisor.machine import MAX_PCPUS, MAX_VCPUS, check_slice
from splitvisor.supervisor.run_directory import running
from splitvisor.units import format_duration, parse_duration


@click.group()
def sched() -> None:
    """Look at the scheduling of vCPUs, or change it while guests run."""


@sched.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def status(root: Path, machine: str, as_json: bool) -> None:
    """Show the policy, the pCPUs, and of every vCPU what was said of it and where its time went.

    \b
    Examples:
      splitvisor sched status
      splitvisor sched status lab --json
    """
    there = running(root)
    found = [client.status(client.choose(root, machine))] if machine else client.statuses(there)
    if as_json:
        rows = [
            {
                "machine": m.name,
                **render.plain(m.scheduler),
                "guests": [
                    {"name": g.name, "vcpus": [render.plain(v) for v in g.vcpus]} for g in m.guests
                ],
            }
            for m in found
        ]
        click.echo(json.dumps({"schedulers": rows}, indent=2))
    elif not there:
        click.echo("no machine runs")
    else:
        console = render.console()
        for one in found:
            console.print(render_sched.scheduler_title(one), style="bold", soft_wrap=True)
            console.print(render_sched.pcpus_table(one), "")
            console.print(render_sched.schedules_table(one), "")


@sched.command("set")
@click.argument("target", metavar="[MACHINE]/GUEST[/VCPU]")
@click.option(
    "--weight",
    type=WholeNumber(MIN_WEIGHT, MAX_WEIGHT),
    metavar="N",
    help="1 to 65535; shares are proportional to it.",
)
@click.option(
    "--cap",
    type=WholeNumber(0, MAX_CAP),
    metavar="PERCENT",
    help="Of one pCPU, at most; 0: no cap.",
)
@click.option("--budget", metavar="TIME", help="Reserved in every period, as 2ms; 0: nothing.")
@click.option("--period", metavar="TIME", help="Of the reservation, as 10ms; 0: none.")
@click.option("--affinity", metavar="PCPU,...", help="pCPUs that it may run on, or 'all'.")
@click.pass_obj
def set_(
    root: Path,
    target: str,
    weight: int | None,
    cap: int | None,
    budget: str | None,
    period: str | None,
    affinity: str | None,
) -> None:
    """Schedule the vCPUs of a guest, or one of them, otherwise from now on.

    What is not named stays as it is. Policies use what they know of: round_robin nothing but
    affinity, credit weight and cap, deadline all of them.

    \b
    Examples:
      splitvisor sched set lab/web --weight 512 --cap 50
      splitvisor sched set /web --budget 2ms --period 10ms
      splitvisor sched set lab/web/1 --affinity 0
    """
    machine, guest, vcpu = _target(target)
    request = operator.SetScheduleRequest(guest=guest, vcpu=vcpu)
    if all(said is None for said in (weight, cap, budget, period, affinity)):
        raise UserError("nothing to set: name a weight, cap, budget, period or affinity")
    if weight is not None:
        request.weight = weight
    if cap is not None:
        request.cap = cap
    if budget is not None:
        request.budget_ns = _time(budget)
    if period is not None:
        request.period_ns = _time(period)
    if affinity is not None:
        request.affinity.pcpus.extend(_pcpus(affinity))
    status = client.set_schedule(client.choose(root, machine), request)
    for one in status.vcpus:
        if vcpu is None or one.index == vcpu:
            click.echo(f"{status.name}/{one.index}: {render_sched.schedule_text(one.schedule)}")


@sched.command()
@click.argument("machine", default="", metavar="[MACHINE]")
@click.argument("policy", default="", metavar="POLICY")
@click.option("--slice", "slice_", metavar="TIME", help="A vCPU's turn while others wait, as 5ms.")
@click.pass_obj
def policy(root: Path, machine: str, policy: str, slice_: str | None) -> None:
    """Have another POLICY schedule all vCPUs of a machine from now on, or one with another slice.

    \b
    Examples:
      splitvisor sched policy deadline
      splitvisor sched policy lab credit --slice 5ms
      splitvisor sched policy lab --slice 5ms
    """
    there = {one.name for one in running(root)}
    if machine and not policy and not (slice_ is not None and machine in there):
        machine, policy = "", machine
    if not policy and slice_ is None:
        raise UserError("name a policy, a --slice, or both")
    slice_ns = 0
    if slice_ is not None:
        check_slice(slice_ns := parse_duration(slice_))
    reply = client.set_policy(client.choose(root, machine), policy, slice_ns)
    click.echo(f"policy {reply.policy}, slice {format_duration(reply.slice_ns)}")


def _target(text: str) -> tuple[str, str, int | None]:
    machine, *rest = text.split("/")
    if not 1 <= len(rest) <= 2 or not rest[0]:
        raise UserError(f"{text!r} names no guest: write MACHINE/GUEST, or /GUEST")
    if len(rest) == 1:
        return machine, rest[0], None
    return machine, rest[0], _number("vCPU", rest[1], MAX_VCPUS)


def _time(text: str) -> int:
    time = 0 if text == "0" else parse_duration(text)
    if time > MAX_PERIOD_NS:
        raise UserError(f"{text}: give at most {format_duration(MAX_PERIOD_NS)}")
    return time


def _pcpus(text: str) -> list[int]:
    if text == "all":
        return []
    return [_number("pCPU", number, MAX_PCPUS) for number in text.split(",")]


def _number(what: str, text: str, end: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(end)) or int(text) >= end:
        raise UserError(f"{text!r} is no number of a {what}: give 0 to {end - 1}")
    return int(text)
