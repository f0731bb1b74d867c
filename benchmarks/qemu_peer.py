"""The peer to beat: QEMU with vhost-user-blk, its storage daemon killed under a verified load.

The guests are the very images that splitvisor runs. The daemon gets SIGKILL and another is started
at once, by a loop that has nothing else to do. Each outage is seen twice: from outside, from
SIGKILL to the new daemon's first transfer; and by the guest `storm`, as the gap between two
completions that it tells of. A guest that fails its own verification, or hangs, is a result here
and no error. Three loads, because not all is fair to ask:

  storm, only reads     survives most kills, and so tells of its outages
  blockcheck            reads and writes that never overlap in flight: what it finds wrong is wrong
  storm                 overlapping reads, writes and flushes, which it wants to take effect in the
                        order of their submission; virtio does not ask for that, so nothing is held
                        against the peer but a request that completes twice
"""

import math
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guest import ROOT, with_disk
from benchmarks.qemu_machine import BLOCK, QEMU, Daemon, microvm, missing, reconnect, version
from benchmarks.report import row
from benchmarks.sched import hertz

IMAGES = ROOT / "build/guests"
DISK = 64 << 20
KILLS, RUNS = 3, 3  # kills in a run, runs of each load
EVERY = 1.0  # seconds of service before each kill, and after the last
PATIENCE = 15.0  # seconds for what takes one if all is well
LOOK = 0.0005  # seconds between two looks at the daemon
SLACK = 0.1  # seconds by which the guest's clock and ours may be apart
GAP = re.compile(r"^storm: gap (\d+) at (\d+)\r?$", re.MULTILINE)
VERDICT = re.compile(r"^\w+: (PASS|FAIL)\b.*$", re.MULTILINE)
TWICE = re.compile(r"completion of descriptor \d+, which is not in flight")


@dataclass(frozen=True, slots=True)
class Load:
    """A guest and its arguments."""

    image: Path
    arguments: str


def storm(words: str, kills: int = KILLS, every: float = EVERY) -> Load:
    """Storm for long enough, with an outage of a second for each kill."""
    seconds = math.ceil(kills * (every + 1) + every)
    return Load(IMAGES / "storm", f"{words} seconds={seconds} hz={hertz():.0f}")


def blockcheck(words: str) -> Load:
    """Blockcheck, which has as many passes as it is told."""
    return Load(IMAGES / "blockcheck", words)


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL `at` seconds into the load; then seconds from it until what happened, if it did."""

    at: float
    listens: float  # the next daemon
    resumed: float | None  # that daemon has moved a block

    def outage(self, gaps: Sequence[tuple[float, float]]) -> float | None:
        """The longest of the guest's gaps, (seconds, their end), that meet this one's time."""
        if self.resumed is None:
            return None
        end = self.at + self.resumed
        near = [
            gap for gap, until in gaps if until >= self.at - SLACK and until - gap <= end + SLACK
        ]
        return max(near, default=None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run: PASS, FAIL, HUNG or DIED, words to it, and per kill the outage that the guest saw."""

    verdict: str
    words: str
    kills: tuple[Kill, ...]
    outages: tuple[float | None, ...]

    @property
    def doubled(self) -> bool:
        """Whether the guest was told of a request that had already completed."""
        return TWICE.search(self.words) is not None


def measure(load: Load, kills: int = KILLS, every: float = EVERY) -> Outcome:
    """One run on an empty disk, the daemon killed after each `every` seconds of service."""
    with with_disk() as name:
        folder, option = Path(name), reconnect(version())
        with (folder / "disk.img").open("wb") as disk:
            disk.truncate(DISK)
        daemon = Daemon(folder)
        try:
            with microvm(folder, load.image, load.arguments, option) as guest:
                if not _until(daemon.serves, guest):
                    raise SystemExit(f"{QEMU}: {(folder / 'errors').read_text().strip()}")
                begun = time.perf_counter()
                done: list[Kill] = []
                while len(done) < kills and not _ends(guest, every):
                    at = time.perf_counter()
                    daemon.kill()
                    daemon = Daemon(folder)
                    listens = time.perf_counter() - at
                    served = _until(daemon.serves, guest)
                    resumed = time.perf_counter() - at if served else None
                    done.append(Kill(at - begun, listens, resumed))
                    if not served:
                        break
                hung = not _finishes(guest, daemon)
        finally:
            daemon.kill()
        return judge((folder / "console").read_text(), (folder / "errors").read_text(), done, hung)


def _until(what: Callable[[], bool], guest: subprocess.Popen[bytes]) -> bool:
    """Whether it comes to hold while the guest runs."""
    deadline = time.perf_counter() + PATIENCE
    while not what():
        if time.perf_counter() > deadline or _ends(guest, LOOK):
            return False
    return True


def _finishes(guest: subprocess.Popen[bytes], daemon: Daemon) -> bool:
    """Whether it ends, and not because nothing moves any more."""
    before = daemon.transferred()
    while not _ends(guest, PATIENCE):
        if (now := daemon.transferred()) < before + BLOCK:
            return False
        before = now
    return True


def _ends(guest: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        guest.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def judge(console: str, errors: str, kills: Sequence[Kill], hung: bool) -> Outcome:
    """What a run came to, out of the guest's words, or QEMU's if the guest had no last ones."""
    gaps = [(int(gap) / 1e6, int(until) / 1e3) for gap, until in GAP.findall(console)]
    outages = tuple(kill.outage(gaps) for kill in kills)
    said = VERDICT.search(console)
    if said:
        return Outcome(said[1], said[0].strip(), tuple(kills), outages)
    if hung:
        return Outcome("HUNG", "no completion was the last", tuple(kills), outages)
    return Outcome("DIED", errors.strip().rsplit("\n", 1)[-1], tuple(kills), outages)


def show(reads: Sequence[Outcome], check: Sequence[Outcome], mixed: Sequence[Outcome]) -> None:
    """The rows of the report, out of the runs of each load; times are medians."""
    kills = [kill for run in (*reads, *check, *mixed) for kill in run.kills]
    resumed = [kill.resumed for kill in kills if kill.resumed is not None]
    seen = [outage for run in (*reads, *mixed) for outage in run.outages if outage is not None]
    qemu = version()
    row(f"QEMU {qemu}, vhost-user-blk, {reconnect(qemu)}", f"{len(kills)} kills")
    _times("  SIGKILL until the next daemon listens", [kill.listens for kill in kills])
    _times("  until it has moved its first block", resumed)
    _times("  outage that storm saw", seen)
    _verified("  storm verified it, only reads", reads)
    _verified("  blockcheck verified it, nothing overlaps", check)
    doubled = sum(run.doubled for run in mixed)
    row("  storm saw a request complete twice", f"{doubled} of {len(mixed)}", "runs")


def _times(what: str, seconds: Sequence[float]) -> None:
    if not seconds:
        row(what, "never")
        return
    median, longest = statistics.median(seconds) * 1e3, max(seconds) * 1e3
    row(what, f"{median:,.1f} ms", f"max {longest:,.1f} ms, {len(seconds)} times")


def _verified(what: str, runs: Sequence[Outcome]) -> None:
    bad = [run for run in runs if run.verdict != "PASS"]
    remark = f"runs; {bad[0].verdict}: {bad[0].words}" if bad else "runs"
    row(what, f"{len(runs) - len(bad)} of {len(runs)}", remark)


def main() -> None:
    if reason := missing():
        print(f"QEMU side by side: skipped, {reason}")
        return
    seeds = [f"depth=32 seed={seed}" for seed in range(1, RUNS + 1)]
    show(
        [measure(storm(f"{words} writes=0")) for words in seeds],
        [measure(blockcheck(f"{words} passes=7")) for words in seeds],
        [measure(storm(words)) for words in seeds],
    )


if __name__ == "__main__":
    main()
