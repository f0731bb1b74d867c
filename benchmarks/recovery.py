"""What guests see of the death of their service OS, in one run of some four minutes.

The guest storm keeps 32 requests in flight and tells every time in which none completed for 2 ms.
Its clock begins somewhere on the supervisor's, so the gaps are laid over the outages where most of
them meet; what a blow cost is the gap around its outage. Signals come from here, as they would from
the kernel: an order through the supervisor would be work for it in the middle of what is measured.
The steps are the supervisor's own times, from the moment of the signal.
"""

import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import qemu_peer
from benchmarks.overlay import laid_over
from benchmarks.report import row, verdict
from splitvisor.checks.clock import cycles_per_second
from splitvisor.checks.storm import StormLog, parse
from splitvisor.supervisor.outage import Outage
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.machine import Machine
from splitvisor.testing.testbed import Testbed

SEED = 4
DISK = 64 << 20
KILLS, COLD_KILLS, STOPS, HANGS = 60, 20, 30, 20
APART = (0.05, 0.25)  # seconds from a standby that is ready to the next blow
LOAD = 10  # seconds of each run for throughput
REST = 120.0  # seconds for the guest to read everything back
FOR_EVER = 1_000_000  # seconds; ended by the machine's end

Blow = Callable[[Machine, int], object]  # given the pid of the service OS


@dataclass(frozen=True, slots=True)
class Seen:
    """What blows cost: the guest's gaps in ms, shortest first, and the supervisor's outages."""

    gaps: list[float]
    outages: list[Outage]


@contextmanager
def storm(seconds: int, *, standby: bool = True, failpoints: bool = False) -> Iterator[Machine]:
    """A machine whose guest is under way."""
    with tempfile.TemporaryDirectory(prefix="splitvisor-bench-") as name:
        folder = Path(name)
        with (folder / "disk.img").open("wb") as image:
            image.truncate(DISK)
        words = f"seed={SEED} depth=32 seconds={seconds} hz={cycles_per_second()}"
        with Testbed(folder) as bed:
            disks = ["file:path=disk.img"]
            machine = bed.start("storm", disks, words, standby=standby, failpoints=failpoints)
            machine.guest().says("storm: at 1 ")
            yield machine


def strike(count: int, blow: Blow, *, standby: bool = True, failpoints: bool = False) -> Seen:
    """So many blows, one after the other, each when all is well again."""
    luck = random.Random(SEED)
    struck = []
    with storm(FOR_EVER, standby=standby, failpoints=failpoints) as machine:
        for _ in range(count):
            machine.wait_for_standby()
            pid = machine.service().pid
            time.sleep(luck.uniform(*APART))
            struck.append(time.monotonic_ns())
            blow(machine, pid)
            machine.wait_for("recovered")
        machine.wait_for_requests(1000)
        outages = [replace(o, killed=at) for o, at in zip(machine.outages, struck, strict=True)]
        output = machine.guest().output()
    log = parse(output)
    assert log is not None
    return Seen(sorted(laid_over(log.gaps, outages)), outages)


def throughput(every: float | None) -> StormLog:
    """A whole run of storm, with a kill in each `every` seconds of its load."""
    with storm(LOAD) as machine:
        due = time.monotonic()
        for _ in range(int((LOAD - 2) / every) if every else 0):
            due += every or 0
            time.sleep(max(due - time.monotonic(), 0))
            with suppress(MachineFailure):  # it is dead already: that is what we want
                machine.fault("kill")
        said = machine.guest().wait(REST)
    if said.storm is None or not said.passed:
        raise SystemExit(f"the guest is not content: {said}")
    return said.storm


def show(what: str, seen: Seen, limits: dict[str, float]) -> None:
    """The row of a kind of blow, and the steps of its outages."""
    found = {"p50": statistics.median(seen.gaps), "max": seen.gaps[-1]}
    found["p99"] = statistics.quantiles(seen.gaps, n=100, method="inclusive")[98]
    held = verdict(
        all(found[name] <= limit for name, limit in limits.items()),
        ", ".join(f"{name} at most {limit:g} ms" for name, limit in limits.items()),
    )
    remark = f"p99 {found['p99']:.1f}, max {found['max']:.1f} ms; {held}"
    row(f"{what}, {len(seen.gaps)} times", f"{found['p50']:.1f} ms", remark)
    steps = [outage.steps_ms() for outage in seen.outages]
    middle = {name: statistics.median(s[name] for s in steps if name in s) for name in steps[0]}
    row("  of it, median", "", ", ".join(f"{name} {ms:.1f}" for name, ms in middle.items()) + " ms")


def main() -> None:
    def kill(_: Machine, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def stop(_: Machine, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)

    show("SIGKILL, standby, depth 32", strike(KILLS, kill), {"p50": 10, "p99": 25, "max": 50})
    show("SIGKILL, cold", strike(COLD_KILLS, kill, standby=False), {"p99": 250})
    show("SIGSTOP, standby", strike(STOPS, stop), {"p99": 30})
    for action in ("hang", "spin"):

        def stick(machine: Machine, _: int, action: str = action) -> object:
            return machine.fault(action, at="before-execute", device="disk0")

        seen = strike(HANGS, stick, failpoints=True)
        show(f"live but stuck ({action})", seen, {"max": 150})
    rest = throughput(None).throughput
    row("storm undisturbed, 4 KiB, depth 32", f"{rest:,.0f} /s")
    for every, least in ((1.0, 0.9), (0.25, 0.6)):
        rate = throughput(every).throughput
        share = f"{rate / rest:.1%} of undisturbed; {verdict(rate >= least * rest, f'{least:.0%}')}"
        row(f"  with a kill every {every * 1000:.0f} ms", f"{rate:,.0f} /s", share)
    qemu_peer.main()


if __name__ == "__main__":
    main()
