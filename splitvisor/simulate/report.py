"""The record of a simulation as a table, a trace, and plain values for JSON."""

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from splitvisor.simulate.record import Interval, Record, VcpuAccount
from splitvisor.simulate.scenario import Scenario

_COLUMNS = (
    *("vcpu", "share", "run", "wait", "longest\nwait", "switches"),
    *("wake-ups", "longest\nwake-up", "deadlines\nmet", "deadlines\nmissed"),
)


def vcpus_table(record: Record) -> Table:
    """One line per vCPU; its share is of one pCPU and of the time that it was there."""
    found = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column in _COLUMNS:
        found.add_column(
            column, justify="left" if column == "vcpu" else "right", no_wrap=True, overflow="fold"
        )
    for account in record.vcpus.values():
        judged = account.met or account.missed
        found.add_row(
            account.name,
            f"{_share(account):.2f} %",
            milliseconds(account.run),
            milliseconds(account.wait),
            milliseconds(account.longest_wait),
            str(account.switches),
            str(account.wakes),
            milliseconds(account.longest_wake) if account.wakes else "-",
            str(account.met) if judged else "-",
            str(account.missed) if judged else "-",
        )
    return found


def pcpu_lines(record: Record, scenario: Scenario) -> list[str]:
    """One line per pCPU."""
    return [
        f"pCPU {i}: busy {100 * pcpu.busy / scenario.duration:.2f} %, {pcpu.switches} switches"
        for i, pcpu in enumerate(record.pcpus)
    ]


def trace_lines(record: Record) -> list[str]:
    """One line per run, in the order of their beginnings."""
    width = max(map(len, record.vcpus))
    return [
        f"{milliseconds(run.start):>14} to {milliseconds(run.end):>14}  pCPU {run.pcpu}  "
        f"{run.vcpu:{width}}  {run.why}"
        for run in sorted(runs(record), key=lambda run: (run.start, run.pcpu))
    ]


def runs(record: Record) -> list[Interval]:
    """Without the waits."""
    return [interval for interval in record.intervals if interval.pcpu is not None]


def plain(record: Record, scenario: Scenario) -> dict[str, Any]:
    """Everything, times in nanoseconds; intervals with a null pCPU are waits."""
    return {
        "policy": scenario.policy,
        "slice_ns": scenario.slice_ns,
        "duration_ns": scenario.duration,
        "vcpus": [
            {"name": account.name, "share_percent": round(_share(account), 6)}
            | {_named(key): value for key, value in asdict(account).items() if key != "name"}
            for account in record.vcpus.values()
        ],
        "pcpus": [{"busy_ns": pcpu.busy, "switches": pcpu.switches} for pcpu in record.pcpus],
        "window_ns": [record.begin, record.end],
        "intervals": [asdict(interval) for interval in record.intervals],
        "misses": [{"deadline_ns": deadline, "vcpu": name} for deadline, name in record.misses],
    }


def milliseconds(time: int) -> str:
    """To the microsecond, which is finer than any policy."""
    return f"{time / 1e6:.3f} ms"


def _share(account: VcpuAccount) -> float:
    return 100 * account.run / account.alive if account.alive else 0.0


def _named(key: str) -> str:
    """A field's name with its unit, unless it counts."""
    return key if key in ("switches", "wakes", "met", "missed") else f"{key}_ns"
