"""`splitvisor simulate-schedule`: a scheduling policy in virtual time."""

import json
from pathlib import Path

import click

from splitvisor.cli import render
from splitvisor.cli.paths import GivenPath
from splitvisor.errors import UserError
from splitvisor.simulate import drawing, report, scenario_file
from splitvisor.simulate.engine import simulate
from splitvisor.units import parse_duration

PICTURE_SLICES = 30  # in the window, unless the user says otherwise

_EPILOG = """
\b
Examples:
  splitvisor simulate-schedule docs/scheduling/weights.toml
  splitvisor simulate-schedule docs/scheduling/deadline.toml --policy round_robin
  splitvisor simulate-schedule docs/scheduling/wakeup.toml --svg wakeup.svg --to 60ms
  splitvisor simulate-schedule docs/scheduling/cap.toml --trace --from 480ms --to 520ms
  splitvisor simulate-schedule docs/scheduling/weights.toml --json | jq '.vcpus[].share_percent'

\b
Example of a scenario; docs/scheduling/README.md says more:
  policy = "credit"
  duration = "1s"
\b
  [vcpus.spinner]
  count = 3
  cap = 50
\b
  [vcpus.io]
  run = "300us"
  every = "4ms"
"""


class _Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_duration(value)
        except UserError as error:
            self.fail(f"{error}.", param, ctx)


@click.command("simulate-schedule", epilog=_EPILOG)
@click.argument("file", type=GivenPath(path_type=Path), metavar="SCENARIO.toml")
@click.option("--policy", metavar="NAME", help="Another policy than the scenario's.")
@click.option("--trace", is_flag=True, help="Print every run on a pCPU within the window.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--svg",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the window as a picture.",
)
@click.option(
    "--from",
    "begin",
    type=_Duration(),
    default="0s",
    metavar="TIME",
    help="Where the window begins. Default: 0s.",
)
@click.option(
    "--to",
    "end",
    type=_Duration(),
    metavar="TIME",
    help="Where it ends. Default: the end; with --svg alone, 30 slices after its beginning.",
)
def simulate_schedule(
    file: Path,
    policy: str | None,
    trace: bool,
    as_json: bool,
    svg: Path | None,
    begin: int,
    end: int | None,
) -> None:
    """Run a scheduling policy through SCENARIO.toml and tell what each vCPU got.

    The policy is the very code that schedules real guests, found among those that are installed;
    only time is virtual. The same scenario always gives the same result. The table is about all of
    the time, whatever the window.
    """
    scenario = scenario_file.read(file, policy)
    if end is None:
        short = svg is not None and not trace and not as_json
        end = begin + PICTURE_SLICES * scenario.slice_ns if short else scenario.duration
    end = min(end, scenario.duration)
    if begin >= end:
        raise UserError("the window is empty: give a --from before --to and the duration")
    record = simulate(scenario, begin, end)
    if svg is not None:
        picture = drawing.draw(record, scenario, file.stem)
        try:
            svg.write_text(picture)
        except OSError as error:
            raise UserError(f"{svg}: {error.strerror}: write the picture elsewhere") from None
    if as_json:
        click.echo(json.dumps(report.plain(record, scenario), indent=2))
        return
    if trace:
        click.echo("\n".join([*report.trace_lines(record), ""]))
    render.console().print(report.vcpus_table(record))
    click.echo("\n".join(report.pcpu_lines(record, scenario)))
