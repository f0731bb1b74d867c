"""The blows that the demo deals, and what each of them cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from splitvisor.cli.outage_words import first_completion_ms
from splitvisor.cli.render import table
from splitvisor.supervisor.outage import STEPS, Outage


@dataclass(frozen=True, slots=True)
class Strike:
    """A signal to the service OS that served, with that many disk requests in its hands."""

    signal: str  # SIGKILL or SIGSTOP
    pid: int
    at: str  # how far blockcheck was
    in_flight: int


@dataclass(slots=True)
class Recovery:
    """What came of a strike; without one, of an outage that nobody asked for."""

    strike: Strike | None
    pid: int  # that took over
    outage: Outage
    disk_requests: int = 0  # that were replayed; outage.requests counts those of all devices


def outages_table(recoveries: Iterable[Recovery]) -> Table:
    """One line per outage; times are milliseconds."""
    recoveries = list(recoveries)
    retried = any("retry" in recovery.outage.steps_ms() for recovery in recoveries)
    named = [step for step in STEPS if step != "retry" or retried]
    times = (*named, "total")
    columns = ("what", "at", *times, "replayed", "taken over by")
    rows = table(columns, right=("at", *times, "replayed"))
    for recovery in recoveries:
        outage, steps = recovery.outage, recovery.outage.steps_ms()
        rows.add_row(
            f"{recovery.strike.signal} to {recovery.strike.pid}"
            if recovery.strike
            else outage.cause,
            recovery.strike.at if recovery.strike else "-",
            *(f"{steps[step]:.1f} ms" if step in steps else "-" for step in named),
            f"{outage.total_ms:.1f} ms",
            str(outage.requests),
            f"{recovery.pid}, {'a standby' if outage.warm else 'started anew'}",
        )
    return rows


def plain(recovery: Recovery) -> dict[str, Any]:
    """For JSON; times are milliseconds."""
    strike, outage = recovery.strike, recovery.outage
    return {
        "signal": strike.signal if strike else None,
        "struck_pid": strike.pid if strike else None,
        "in_flight": strike.in_flight if strike else None,
        "cause": outage.cause,
        "replaced_by_pid": recovery.pid,
        "warm": outage.warm,
        "steps_ms": outage.steps_ms(),
        "outage_ms": outage.total_ms,
        "first_completion_ms": first_completion_ms(outage),
        "replayed": outage.requests,
        "replayed_of_disk": recovery.disk_requests,
    }
