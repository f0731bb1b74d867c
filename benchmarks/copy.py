"""How fast a disk is copied while it is used, and what that leaves of it to its guest.

The copy has `cp` beside it, on the same file and in the same moment: both go from page cache to
page cache, and are then flushed. The guest reads and writes as fast as it can; its requests are
counted before the copy and during it. So that one sees what the guest takes from whoever copies,
and whoever copies from the guest, `cp` copies its disk as well.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import row, verdict
from drivers.interface import Keep
from drivers.registry import make
from protos import operator_pb2 as operator
from splitvisor.testing.machine import Machine
from splitvisor.testing.testbed import Testbed
from splitvisor.units import format_size, parse_size

SIZE = "1G"
ROUNDS = 3
BEFORE = 3.0  # seconds
OF_CP, OF_GUEST = 0.8, 0.5
LOAD = "depth=32 size=4096 ops=1000000000 mode=rw seed=3"
LOOK = 0.05


def image(folder: Path, name: str, size: int) -> Path:
    """A file without a hole or a zero block, and flushed."""
    path = folder / name
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(block)
        os.fsync(file.fileno())
    return path


def by_cp(source: Path, target: Path) -> float:
    """Seconds for cp and a flush."""
    began = time.monotonic()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return time.monotonic() - began


def by_driver(source: Path, target: Path) -> float:
    """Seconds for `block.migrate`, which flushes too, to a file that is as empty as cp makes it."""
    os.truncate(target, 0)
    os.truncate(target, source.stat().st_size)
    spec = f"migrate:source=(file:path={source}),target=(file:path={target})"
    disk = make("block", spec, Keep(source.with_name("keep")))
    began = time.monotonic()
    disk.begin()
    while not (progress := disk.progress()).complete:
        if progress.problem:
            raise SystemExit(f"the copy ended: {progress.problem}")
        time.sleep(LOOK)
    took = time.monotonic() - began
    disk.close()
    return took


def rate(machine: Machine, until: float, move: bool = False) -> tuple[float, float]:
    """Requests a second, and for how long: `until` so many seconds, or the end of the move."""
    began, count = time.monotonic(), machine.device("disk0").completions
    while time.monotonic() - began < until:
        time.sleep(LOOK)
        if move and machine.migration("disk0").state != operator.MIGRATION_COPYING:
            break
    took = time.monotonic() - began
    return (machine.device("disk0").completions - count) / took, took


@dataclass(frozen=True)
class Loaded:
    """A copy of a disk that its guest uses, or the median of some."""

    before: float  # requests of the guest a second
    beside_cp: float
    during: float
    cp: float  # bytes a second
    copied: float


def under_load(size: int) -> Loaded:
    """Medians of rounds: the guest alone, beside cp, and while its disk moves."""
    names = ("disk.img", "new.img")
    seen = []
    with tempfile.TemporaryDirectory(prefix="splitvisor-bench-") as name:
        folder = Path(name)
        other, *_ = [image(folder, one, size) for one in ("other.img", *names)]
        with Testbed(folder) as bed:
            machine = bed.start("blockbench", [f"file:path={names[0]}"], LOAD)
            machine.wait_for_standby()
            machine.wait_for_requests(1000)
            for number in range(1, ROUNDS + 1):
                before, _ = rate(machine, BEFORE)
                beside, cp = beside_cp(machine, folder / names[(number - 1) % 2], other)
                machine.migrate("disk0", f"file:path={names[number % 2]}")
                during, took = rate(machine, float("inf"), move=True)
                seen.append((before, beside, during, size / cp, size / took))
                settled(machine)
    return Loaded(*(statistics.median(one) for one in zip(*seen, strict=True)))


def beside_cp(machine: Machine, source: Path, target: Path) -> tuple[float, float]:
    """Requests a second while cp copies the guest's disk, and for how many seconds it does."""
    count = machine.device("disk0").completions
    took = by_cp(source, target)
    return (machine.device("disk0").completions - count) / took, took


def settled(machine: Machine) -> None:
    """Wait for the end of a move; SystemExit if it did not come to it."""
    while (found := machine.migration("disk0")).state < operator.MIGRATION_DONE:
        time.sleep(LOOK)
    if found.state != operator.MIGRATION_DONE:
        raise SystemExit(f"the copy ended: {found.problem}")
    machine.wait_for_standby()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default=SIZE, metavar="SIZE")
    size = parse_size(parser.parse_args().size)
    with tempfile.TemporaryDirectory(prefix="splitvisor-bench-") as name:
        folder = Path(name)
        source, other = image(folder, "a.img", size), image(folder, "b.img", size)
        pairs = [(by_cp(source, other), by_driver(source, other)) for _ in range(ROUNDS)]
    cp, driver = min(one for one, _ in pairs), min(one for _, one in pairs)
    row(f"cp of {format_size(size)}, and a flush", f"{size / cp / 1e6:,.0f} MB/s")
    held = verdict(cp / driver >= OF_CP, f"at least {OF_CP:.0%} of cp's")
    row("  block.migrate of an idle disk", f"{size / driver / 1e6:,.0f} MB/s", held)
    seen = under_load(size)
    row("4 KiB reads and writes, depth 32", f"{seen.before:,.0f} /s")
    row("  while cp copies the disk", f"{seen.beside_cp:,.0f} /s", share(seen.beside_cp, seen))
    row("  and copied", f"{seen.cp / 1e6:,.0f} MB/s", f"{seen.cp / (size / cp):.0%} of cp alone")
    held = verdict(seen.during / seen.before >= OF_GUEST, f"at least {OF_GUEST:.0%} of them")
    row("  while the disk moves", f"{seen.during:,.0f} /s", f"{share(seen.during, seen)}; {held}")
    alone, beside = seen.copied / (size / cp), seen.copied / seen.cp
    held = verdict(alone >= OF_CP, f"at least {OF_CP:.0%} of cp alone")
    speed = f"{seen.copied / 1e6:,.0f} MB/s"
    row("  and copied", speed, f"{alone:.0%} of cp alone, {beside:.0%} of cp beside it; {held}")


def share(during: float, seen: Loaded) -> str:
    """Of the guest's requests before."""
    return f"{during / seen.before:.0%} of them"


if __name__ == "__main__":
    main()
