"""`splitvisor demo`: the main job, live, with a verdict from inside and one from outside."""

import json
import os
import tempfile
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from splitvisor.checks.verdict import Verdict
from splitvisor.cli import status as exit_status
from splitvisor.cli.launch import launch
from splitvisor.cli.numbers import WholeNumber
from splitvisor.cli.paths import GivenPath
from splitvisor.cli.render import WIDE
from splitvisor.demo.conversation import Conversation
from splitvisor.demo.play import STRIKES, Outcome, Play
from splitvisor.demo.scene import SEED, Scene, set_up
from splitvisor.demo.stage import Stage
from splitvisor.demo.stamps import check_image
from splitvisor.demo.strikes import outages_table, plain
from splitvisor.machine import CpuChoice
from splitvisor.units import parse_size

PASSES = 6  # over 64 MiB: some ten seconds on a quiet machine
PASSES_EMULATED = 1  # the same

_EPILOG = """
\b
Exit status:
  0    the guest said PASS and exited with 0, the other guests did as they should, two kills and a
       stop were recovered from with requests in flight, and the image agrees
  1    one of these is not so
  2    a mistake in the options, told in one line

\b
Examples:
  splitvisor demo
  splitvisor demo --cpu emulated --size 16M
  splitvisor demo --disk /var/tmp/demo.img --json
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--cpu",
    type=click.Choice([choice.value for choice in CpuChoice]),
    default="auto",
    show_default=True,
    help="The CPU back end; auto takes KVM where it works.",
)
@click.option("--size", default="64M", show_default=True, help="Of the disk image.")
@click.option(
    "--passes",
    type=WholeNumber(min=1),
    metavar="N",
    help=f"How often blockcheck goes over it.  [default: {PASSES}; {PASSES_EMULATED} without KVM]",
)
@click.option(
    "--disk",
    type=GivenPath(path_type=Path),
    metavar="PATH",
    help="Make the disk image here and keep it.  [default: a temporary one]",
)
@click.option(
    "--guests",
    type=GivenPath(path_type=Path),
    metavar="DIR",
    help="Where the guests' images are.  [default: the project's build/guests]",
)
@click.option("--json", "as_json", is_flag=True, help="Show on standard error; end with JSON.")
@click.pass_obj
def demo(
    root: Path,
    cpu: str,
    size: str,
    passes: int | None,
    disk: Path | None,
    guests: Path | None,
    as_json: bool,
) -> int:
    """Run guests on a real disk image and strike the process that serves them, three times.

    blockcheck writes, reads and verifies stamped blocks over the whole disk at queue depth 32,
    beside echo and hello. After a quarter of it the service OS is killed with SIGKILL, in the
    middle its successor is stopped with SIGSTOP, and after three quarters the next one is killed.
    Each blow comes while a disk request is made to take 40 ms, or it would often find nothing in
    flight. Another one, which stood by, takes over, and all that was in flight is replayed. In the
    end the guest says whether every block was right, the image is checked once more from outside,
    and a table tells what each outage cost.
    """
    passes = passes or _usual_passes(cpu)
    console = _console(as_json)
    with (
        tempfile.TemporaryDirectory(prefix="splitvisor-demo-") as folder,
        Conversation() as conversation,
    ):
        image = disk or Path(folder) / "disk.img"
        scene = set_up(guests, image, parse_size(size), passes, CpuChoice(cpu), Path(folder))
        with Stage(console) as stage:
            play = Play(scene, stage, conversation)
            reason = launch(
                scene.machine, root, play.report, play, stdio=conversation.stdio, rename=True
            )
        if reason:
            return exit_status.of_end(reason)
        verdict = check_image(image, SEED, passes)
        said = _last_line(scene)
    return _conclude(console, play.outcome, said, verdict, as_json)


def _usual_passes(cpu: str) -> int:
    kvm = cpu != CpuChoice.EMULATED and os.access("/dev/kvm", os.R_OK | os.W_OK)
    return PASSES if kvm else PASSES_EMULATED


def _console(as_json: bool) -> Console:
    as_it_is = partial(Console, stderr=as_json, highlight=False, markup=False, emoji=False)
    console = as_it_is()
    return console if console.is_terminal else as_it_is(width=WIDE)


def _last_line(scene: Scene) -> str:
    lines = scene.verdict_log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else ""


def _conclude(
    console: Console, outcome: Outcome, said: str, verdict: Verdict, as_json: bool
) -> int:
    passed = said.startswith("blockcheck: PASS")
    well = (
        passed
        and outcome.all_exited_well()
        and verdict.agrees
        and outcome.lines_returned == outcome.lines_sent > 0
        and outcome.all_recovered()
    )
    right = verdict.checked - verdict.wrong
    lines = [
        f"echo returned {outcome.lines_returned} of {outcome.lines_sent} lines",
        f"the guest says: {said}",
        f"the image says: {right:,} of {verdict.checked:,} blocks are right, checked from outside",
        *verdict.problems,
    ]
    struck = sum(recovery.strike is not None for recovery in outcome.recoveries)
    if struck < len(STRIKES):
        lines.insert(
            0, f"only {struck} of {len(STRIKES)} strikes: blockcheck ended before the others"
        )
    console.print(outages_table(outcome.recoveries))
    for line in lines:
        console.print(line, soft_wrap=True)
    console.print("PASS" if well else "FAIL", style="bold green" if well else "bold red")
    if as_json:
        click.echo(json.dumps(_summary(outcome, said, verdict, well), indent=2))
    return 0 if well else 1


def _summary(outcome: Outcome, said: str, verdict: Verdict, well: bool) -> dict[str, object]:
    return {
        "pass": well,
        "guest_said": said,
        "exit_statuses": {name: s.exit_status for name, s in outcome.statuses.items()},
        "outages": [plain(recovery) for recovery in outcome.recoveries],
        "lines_sent": outcome.lines_sent,
        "lines_returned": outcome.lines_returned,
        "image_blocks": verdict.checked,
        "image_blocks_wrong": verdict.wrong,
        "image_problems": list(verdict.problems),
    }
