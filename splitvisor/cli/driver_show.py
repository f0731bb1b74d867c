"""`splitvisor driver show`: what a driver says of itself, and its options."""

import json
from dataclasses import asdict

import click

from drivers import registry
from splitvisor.cli import render
from splitvisor.cli.driver_facts import example_of, facts, options_of, split, text_of
from splitvisor.errors import UserError


@click.command()
@click.argument("name", metavar="KIND.NAME")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what a driver says of itself, and its options with types and defaults.

    \b
    Examples:
      splitvisor driver show block.throttle
      splitvisor driver show net.switch --json
    """
    kind, short = split(name)
    known = facts(kind, short)
    if known.problem:
        raise UserError(f"driver {name!r} cannot be used: {known.problem}")
    driver = registry.find(kind, short)
    options, text = options_of(driver), text_of(driver)
    if as_json:
        of_options = {"options": [asdict(option) for option in options]}
        click.echo(json.dumps(asdict(known) | {"text": text} | of_options, indent=2))
        return
    click.echo(f"{name}, of {known.package or 'an unknown package'} {known.version}".rstrip())
    click.echo(f"\n{text}\n")
    if not options:
        click.echo(f"It has no options: {short}")
        return
    rows = render.table(("option", "type", "default", "meaning"), right=())
    rows.columns[-1].no_wrap = False
    for option in options:
        default = "needed" if option.default is None else option.default
        rows.add_row(option.name, option.type, default, option.help)
    render.console().print(rows)
    if any(option.default is None for option in options):
        click.echo(f"\nWith what is needed: {example_of(short, options)}")
