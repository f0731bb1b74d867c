"""`make bench`: the figures that matter, in one run of about half a minute.

The guest polls its disk, so it keeps one processor busy all the time; the echo is therefore shown
twice: on a quiet machine, and beside a process that spins likewise. Host noise hits all rows alike.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import fio
from benchmarks.echo import round_trips
from benchmarks.guest import blockbench, make_disk, with_disk
from benchmarks.report import row, verdict

LATENCY_LIMIT = 1.4  # of the echo's
READS_LIMIT = 40_000  # a second at depth 64
ROUND_TRIPS = 4000


@contextmanager
def spinner() -> Iterator[None]:
    """A process that does nothing, as fast as it can."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def echo(what: str) -> float:
    times = round_trips(ROUND_TRIPS)
    median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    row(f"gRPC stream echo, 64 B, {what}", f"{median * 1e6:.0f} us", f"p99 {p99 * 1e6:.0f} us")
    return median


def beside(disk: Path, mode: str, size: int, ours: float) -> None:
    """The same file by fio, without a machine in between."""
    theirs = fio.rate(disk, mode, size)
    what = f"fio {mode}, {size >> 10} KiB, the same file"
    if theirs is None:
        row(what, "-", "not installed (Debian: apt-get install fio)")
    else:
        row(what, f"{theirs:,.0f} /s", f"the guest gets {ours / theirs:.1%} of it")


def main() -> None:
    cpu = "kvm" if Path("/dev/kvm").exists() else "emulated"
    with with_disk() as folder:
        disk = make_disk(folder)
        echo("quiet")
        with spinner():
            floor = echo("beside a spinner")
        one = blockbench(disk, cpu, depth=1, ops=5000)
        ratio = one.p50 / floor
        row(
            f"block read, 4 KiB, depth 1, {cpu}",
            f"{one.p50 * 1e6:.0f} us",
            f"p99 {one.p99 * 1e6:.0f} us, {ratio:.2f} x the echo beside a spinner; "
            + verdict(ratio <= LATENCY_LIMIT, f"at most {LATENCY_LIMIT} x"),
        )
        many = blockbench(disk, cpu, depth=64, ops=250_000)
        row(
            f"block reads, 4 KiB, depth 64, {cpu}",
            f"{many.rate:,.0f} /s",
            verdict(many.rate >= READS_LIMIT, f"at least {READS_LIMIT:,} /s"),
        )
        inline = blockbench(disk, cpu, inline=True, depth=64, ops=100_000)
        row("  the same with inline payload", f"{inline.rate:,.0f} /s")
        large = blockbench(disk, cpu, depth=32, size=65536, ops=20_000)
        row(f"block reads, 64 KiB, depth 32, {cpu}", f"{large.rate * 65536 / 1e9:.2f} GB/s")
        huge = blockbench(disk, cpu, depth=8, size=1 << 20, ops=3000)
        row(f"block reads, 1 MiB, depth 8, {cpu}", f"{huge.rate * (1 << 20) / 1e9:.2f} GB/s")
        writes = blockbench(disk, cpu, depth=64, mode="write", ops=100_000)
        row(f"block writes, 4 KiB, depth 64, {cpu}", f"{writes.rate:,.0f} /s")
        for mode, size, ours in (
            ("randread", 4096, many.rate),
            ("randwrite", 4096, writes.rate),
            ("randread", 65536, large.rate),
        ):
            beside(disk, mode, size, ours)


if __name__ == "__main__":
    main()
