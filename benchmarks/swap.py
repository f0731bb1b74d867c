"""For how long a disk waits while its driver is swapped, again and again under a storm.

A storm verifies each answer and reads everything back at its end, so swaps come in rounds: in each
a storm of a minute, and swaps one after the other until it is nearly over.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.recovery import storm
from benchmarks.report import row, verdict

SWAPS = 10_000
ROUND = 60  # seconds
REST = 120.0  # for what the storm reads back
DISK = "file:path=disk.img"
LIMITED = f"throttle:iops=10000000,child=({DISK})"  # more than there ever are
P99_LIMIT = 10.0  # ms


@dataclass
class Seen:
    """All in milliseconds; gaps are what the guest saw, those of its host among them."""

    pauses: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)  # what an operator waits
    gaps: list[float] = field(default_factory=list)
    requests: int = 0


def swaps(count: int, seconds: int = ROUND) -> Seen:
    """So many, in as many rounds as it takes; SystemExit if a guest is not content."""
    seen = Seen()
    while len(seen.pauses) < count:
        with storm(seconds) as machine:
            until = time.monotonic() + seconds - 3
            while len(seen.pauses) < count and time.monotonic() < until:
                began = time.monotonic()
                reply = machine.swap("disk0", LIMITED if len(seen.pauses) % 2 else DISK)
                seen.calls.append((time.monotonic() - began) * 1e3)
                seen.pauses.append(reply.swap.pause_ms)
            said = machine.guest().wait(seconds + REST)
            deaths = machine.service().deaths
        if said.storm is None or not said.passed or said.io_errors or deaths:
            raise SystemExit(f"the guest is not content, after {deaths} deaths: {said}")
        seen.gaps += [gap.microseconds / 1e3 for gap in said.storm.gaps]
        seen.requests += said.storm.result["requests"]
    return seen


def show(what: str, times: list[float], limit: float | None = None) -> None:
    """A row with percentiles."""
    cuts = statistics.quantiles(times, n=1000, method="inclusive")
    p99, p999 = cuts[989], cuts[998]
    held = f"; {verdict(p99 <= limit, f'p99 at most {limit:g} ms')}" if limit else ""
    remark = f"p99 {p99:.1f}, p99.9 {p999:.1f}, max {max(times):.1f} ms{held}"
    row(what, f"{statistics.median(times):.1f} ms", remark)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=SWAPS, metavar="N")
    count = parser.parse_args().swaps
    seen = swaps(count)
    show(f"swap of a driver, depth 32, {count:,} times", seen.pauses, P99_LIMIT)
    show("  from the operator's call to its answer", seen.calls)
    row("  verified by the guest meanwhile", f"{seen.requests:,}", "requests, 0 errors")


if __name__ == "__main__":
    main()
