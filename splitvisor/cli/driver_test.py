"""`splitvisor driver test`: whether a driver does what is demanded of its kind."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from drivers import registry
from drivers.interface import DriverError
from drivers.options import nearest
from drivers.rooting import rooted
from splitvisor.cli.lone_driver import locked
from splitvisor.conformance.checks import load
from splitvisor.conformance.contract import OPENS, Outcome, Result, checks_of
from splitvisor.conformance.run import KINDS, refuse_without_contract, run
from splitvisor.errors import UserError

_COLORS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


@click.command()
@click.argument("spec")
@click.option("--kind", type=click.Choice(KINDS), default="block", help="Default: block.")
@click.option("--check", "only", multiple=True, metavar="NAME", help="Only this check.")
@click.option("--yes", is_flag=True, help="Do not ask: what is on the disk may be lost.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, in the end.")
def test(spec: str, kind: str, only: Sequence[str], yes: bool, as_json: bool) -> int:
    """Try whether the driver SPEC does what is demanded of its kind.

    Each check demands one thing: that what was written survives SIGKILL, that a write may be cut
    off anywhere, that nothing is left open, and so on. WHAT IS STORED IS LOST: name a disk, or
    files, made for this. Exit status 1 if a check fails.

    \b
    Examples:
      truncate -s 8M scratch.img; splitvisor driver test file:path=scratch.img
      splitvisor driver test --kind entropy system
      splitvisor driver test --yes --check survives_sigkill my_disk:path=scratch.img
    """
    try:
        spec = rooted(kind, spec, Path(os.path.abspath(".")))
        registry.check(kind, spec)
        refuse_without_contract(kind, spec)
        _refuse_unknown(kind, only)
        stake = _at_stake(kind, spec)
        if stake and not yes:
            _ask(stake)
        with locked(kind, spec):
            results = _run(kind, spec, only, as_json)
    except DriverError as error:
        raise UserError(str(error)) from None
    if not results:
        raise UserError(f"{kind} drivers have no checks")
    count = {outcome: sum(r.outcome is outcome for r in results) for outcome in Outcome}
    passed = not count[Outcome.FAILED]
    if as_json:
        found = {"kind": kind, "spec": spec, "passed": passed}
        checks = {"checks": [asdict(result) for result in results]}
        click.echo(json.dumps(found | checks, indent=2))
    else:
        numbers = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
        click.echo(f"{'PASS' if passed else 'FAIL'}: {numbers}")
    return 0 if passed else 1


def _refuse_unknown(kind: str, only: Sequence[str]) -> None:
    load(kind)
    names = [OPENS, *(check.name for check in checks_of(kind))]
    for name in only:
        if name not in names:
            raise UserError(f"no check of {kind} drivers is called {name}{nearest(name, names)}")


def _run(kind: str, spec: str, only: Sequence[str], silent: bool) -> list[Result]:
    results = []
    for result in run(kind, spec, only):
        results.append(result)
        if not silent:
            word = click.style(f"{result.outcome:7}", _COLORS[result.outcome])
            click.echo(f"{word} {result.check}{f': {result.reason}' if result.reason else ''}")
            if result.outcome is Outcome.FAILED:
                click.echo(f"        demanded: {result.demand}")
    return results


def _at_stake(kind: str, spec: str) -> str:
    """What may be lost, in words; nothing if it is nothing."""
    found = [
        claim.remote or str(claim.path)
        for claim in registry.claims(kind, spec)
        if claim.exclusive and (claim.remote or claim.path.exists())
    ]
    if found:
        return f"what is in {', '.join(found)}"
    return "what is on the disk" if kind == "block" and not registry.claims(kind, spec) else ""


def _ask(stake: str) -> None:
    if not sys.stdin.isatty():
        raise UserError(f"{stake} may be lost: say --yes if it may")
    click.confirm(f"{stake[0].upper()}{stake[1:]} may be lost. Go on?", abort=True, err=True)
