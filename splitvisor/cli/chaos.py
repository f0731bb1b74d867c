"""`splitvisor chaos`: a campaign of faults under a load that judges every answer."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from drivers.options import nearest
from splitvisor.chaos import report
from splitvisor.chaos.campaign import ROUND, Campaign
from splitvisor.chaos.plan import SEEDS, Disk, Plan
from splitvisor.chaos.schedule import KINDS, OF_STANDBYS
from splitvisor.chaos.tally import Tally
from splitvisor.chaos.witness import Testimony
from splitvisor.checks.latency_drawing import draw
from splitvisor.checks.stamps import BLOCK
from splitvisor.cli.numbers import WholeNumber
from splitvisor.cli.paths import GivenPath
from splitvisor.errors import UserError
from splitvisor.machine import CpuChoice
from splitvisor.testing.testbed import guest_image
from splitvisor.units import format_size, parse_duration, parse_size

MOST = 16  # guests, and service OSes
SMALLEST, LARGEST = 1 << 20, 1 << 30  # bytes of a disk; the guest keeps account of each block
SHORTEST, SHORTEST_EVERY = 1.5, 0.01  # seconds
LONGEST, LONGEST_EVERY = "24h", f"{ROUND:g}s"
_SIZES = f"{format_size(SMALLEST)} to {format_size(LARGEST)}"
PLAIN_EVERY = 10.0  # seconds from one line to the next where there is no terminal

_KINDS = "\n".join(f"  {kind:<14}{what}" for kind, what in KINDS.items())
_EPILOG = f"""
\b
Faults:
{_KINDS}

\b
Exit status:
  0    PASS: all that guests were promised was kept
  1    FAIL: it says what was not, and the command that does the same again
  2    a mistake in the options, told in one line
  130  Ctrl-C (143 SIGTERM), and nothing was wrong until then

\b
Examples:
  splitvisor chaos --seed 7 --for 30s
  splitvisor chaos --seed 7 --for 10m --faults kill,stop,swap --every 250ms --svg gaps.svg
  splitvisor chaos --for 1m --disk powercut --guests 2 --services 2
  splitvisor chaos --for 2h --recoveries 20000 --zombies 1000
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--seed",
    type=WholeNumber(0, SEEDS - 1),
    default=1,
    show_default=True,
    metavar="S",
    help="What decides kinds, places and order of the faults, and the guests' load.",
)
@click.option(
    "--for",
    "length",
    default="1m",
    show_default=True,
    metavar="TIME",
    help=f"How long, as 30s, 10m or 2h; {SHORTEST:g}s to {LONGEST}.",
)
@click.option(
    "--faults",
    metavar="KIND,...",
    help="Kinds of faults, all equally often; see below.  [default: all that make sense]",
)
@click.option(
    "--every",
    metavar="TIME",
    help=f"One fault in each such time, {LONGEST_EVERY} at most; a round that is shorter has one.  "
    "[default: the next as soon as a standby is ready]",
)
@click.option("--guests", type=WholeNumber(1, MOST), default=1, show_default=True)
@click.option(
    "--depth",
    type=WholeNumber(1, 85),
    default=32,
    show_default=True,
    help="Requests that a guest has in flight.",
)
@click.option(
    "--size",
    default="64M",
    show_default=True,
    help=f"Of each guest's disk, a multiple of 4K; {_SIZES}.",
)
@click.option(
    "--disk",
    type=click.Choice([disk.value for disk in Disk]),
    default="file",
    show_default=True,
    help="With powercut, rounds of seconds end with a loss of power.",
)
@click.option(
    "--cpu",
    type=click.Choice([choice.value for choice in CpuChoice]),
    default="auto",
    show_default=True,
    help="The CPU back end; auto takes KVM where it works.",
)
@click.option(
    "--services",
    type=WholeNumber(1, MOST),
    default=1,
    show_default=True,
    help="Service OSes, among which the guests are divided.",
)
@click.option("--no-standby", is_flag=True, help="Start each incarnation when it is needed.")
@click.option(
    "--recoveries",
    type=WholeNumber(0),
    default=0,
    metavar="N",
    help="End when there were so many; fewer within the time is a failure.",
)
@click.option(
    "--zombies",
    type=WholeNumber(0),
    default=0,
    metavar="N",
    help="As --recoveries, for trials of the kind zombie.",
)
@click.option(
    "--svg",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a histogram of what guests saw.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--keep",
    type=GivenPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep images and logs of all rounds here, and not only of one that fails.",
)
def chaos(
    seed: int,
    length: str,
    faults: str | None,
    every: str | None,
    guests: int,
    depth: int,
    size: str,
    disk: str,
    cpu: str,
    services: int,
    no_standby: bool,
    recoveries: int,
    zombies: int,
    svg: Path | None,
    as_json: bool,
    keep: Path | None,
) -> int:
    """Disturb service OSes at random while guests judge every answer, and say who was right.

    Each guest reads, writes and flushes a disk with overlapping requests, talks on two consoles
    and reads entropy. When the load is over, the guest's verdict, the disk image, the consoles
    byte by byte, and the events of all recoveries are held against what is promised: no error,
    nothing lost, corrupt or doubled, every outage at an end, no failover without a fault, no
    process left over. The same seed brings the same faults in the same order.
    """
    plan = Plan(
        seed=seed,
        seconds=_seconds("--for", length, SHORTEST),
        kinds=_kinds(faults, not no_standby),
        every=None if every is None else _seconds("--every", every, SHORTEST_EVERY, LONGEST_EVERY),
        guests=guests,
        depth=depth,
        size=_size(size),
        disk=Disk(disk),
        cpu=CpuChoice(cpu),
        services=services,
        standby=not no_standby,
        recoveries=recoveries,
        zombies=zombies,
    )
    if services > guests:
        raise UserError(f"--services {services}: there are only {guests} guests to serve")
    if zombies and "zombie" not in plan.kinds:
        raise UserError("--zombies counts trials of the kind zombie: add it to --faults")
    image = guest_image("storm")
    if not image.exists():
        raise UserError(f"guest image {image} does not exist: build it with 'make guests'")
    if svg is not None:
        _try(svg)
    with _folder(keep) as folder:
        tally = Campaign(plan, folder, _Progress(plan), keep is not None).run()
        if tally.problems and keep is None:
            tally.problems.append(f"images and logs are kept in {_rescue(folder)}")
    if svg is not None:
        svg.write_text(draw(tally.gaps, f"Gaps in the answers to guests, seed {seed}"))
    if as_json:
        click.echo(json.dumps(report.plain(plan, tally), indent=2))
    else:
        for line in (*report.lines(plan, tally), *report.verdict(plan, tally)):
            click.echo(line)
    if report.verdict(plan, tally) != ["PASS"]:
        return 1
    if tally.interrupted is not None:
        raise tally.interrupted
    return 0


def _try(svg: Path) -> None:
    """Find out before the campaign, which may take hours."""
    try:
        svg.open("a").close()
    except OSError as error:
        raise UserError(f"--svg {svg} cannot be written: {error.strerror}") from None


class _Progress:
    """One line, drawn anew each second on a terminal, now and then elsewhere."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._began = time.monotonic()
        self._due = 0.0
        self._live = sys.stderr.isatty()

    def __call__(self, tally: Tally, now: Testimony) -> None:
        seconds = time.monotonic() - self._began
        if seconds < self._due:
            return
        line = report.progress_line(self._plan, tally, now, seconds)
        end = "\x1b[K\r" if self._live else "\n"
        with suppress(BrokenPipeError):  # nobody reads it
            print(line, end=end, file=sys.stderr, flush=True)
        self._due = seconds + (0 if self._live else PLAIN_EVERY)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where the rounds put their files."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise UserError(f"--keep {keep}: is not empty: name a new folder")
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="splitvisor-chaos-") as folder:
        yield Path(folder)


def _rescue(folder: Path) -> Path:
    """Move the files of the last round, which failed, to where they stay."""
    last = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    return Path(shutil.move(last, tempfile.mkdtemp(prefix="splitvisor-chaos-failed-")))


def _seconds(option: str, text: str, least: float, most: str = LONGEST) -> float:
    seconds = parse_duration(text) / 1e9
    if not least <= seconds <= parse_duration(most) / 1e9:
        raise UserError(f"{option} {text}: give {least:g}s to {most}")
    return seconds


def _kinds(text: str | None, standby: bool) -> tuple[str, ...]:
    if text is None:
        return tuple(kind for kind in KINDS if standby or kind not in OF_STANDBYS)
    kinds = tuple(word.strip() for word in text.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"--faults: no kind of fault {kind!r}{nearest(kind, KINDS)}")
        if kind in OF_STANDBYS and not standby:
            raise UserError(f"--faults {kind}: with --no-standby there is no standby to kill")
    return kinds


def _size(text: str) -> int:
    size = parse_size(text)
    if size % BLOCK or not SMALLEST <= size <= LARGEST:
        raise UserError(f"--size {text}: give a multiple of 4K, {_SIZES}")
    return size
