"""A campaign in words: the line while it runs, and the report in the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from splitvisor.chaos.plan import Plan
from splitvisor.chaos.tally import Tally
from splitvisor.chaos.witness import Testimony
from splitvisor.checks.latency import percentile, summarize, text_histogram
from splitvisor.supervisor.outage import STEPS, Outage
from splitvisor.units import format_size

ENOUGH = 5  # faults, of which one at least takes place if all is well
TIMES = (*STEPS, "total")
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_LINE = 60  # characters


def progress_line(plan: Plan, tally: Tally, now: Testimony, seconds: float) -> str:
    """Where it stands, in one line."""
    recoveries = tally.recoveries + now.recoveries
    rate = recoveries / seconds if seconds else 0.0
    words = [f"{seconds:7.1f} s", f"round {tally.rounds}", f"{recoveries:,} recoveries"]
    words.append(f"{rate:.2f} a second")
    if outages := [outage for _, outage in now.outages if not outage.planned]:
        words.append(f"the last took {outages[-1].total_ms:.1f} ms")
    if plan.recoveries and rate:
        left = max(plan.recoveries - recoveries, 0) / rate
        words.append(f"{left / 60:.0f} min to go")
    return ", ".join(words)


def lines(plan: Plan, tally: Tally) -> Iterator[str]:
    """The whole report but the verdict."""
    yield (
        f"seed {plan.seed}, {tally.seconds:.1f} s, {_count(tally.rounds, 'round')}, "
        f"{_count(plan.guests, 'guest')} at depth {plan.depth} on {plan.disk} disks of "
        f"{format_size(plan.size)}, {_count(plan.services, 'service OS')}, CPU {plan.cpu}"
        f"{'' if plan.standby else ', no standby'}"
    )
    yield f"faults       {sum(tally.done.values()):,}: {_counts(tally.done)}"
    if tally.survived:
        yield f"survived     {sum(tally.survived.values()):,}: {_counts(tally.survived)}"
    if tally.idle:
        yield f"met nothing  {sum(tally.idle.values()):,}: {_counts(tally.idle)}"
    if tally.refused:
        yield f"refused      {len(tally.refused):,}, the first: {tally.refused[0]}"
    rate = tally.recoveries / tally.seconds if tally.seconds else 0.0
    yield (
        f"recoveries   {tally.recoveries:,}, {rate:.2f} a second; "
        f"{tally.upgrades:,} upgrades, {tally.standbys_lost:,} standbys replaced"
    )
    if tally.swaps:
        middle, late, longest = three(tally.swaps)
        pauses = f"pauses of {middle:.1f} / {late:.1f} / {longest:.1f} ms (p50 / p99 / max)"
        yield f"swaps        {len(tally.swaps):,} drivers, {pauses}"
    if tally.zombies:
        yield f"zombies      {tally.zombies:,}, of which {tally.zombies_alive:,} could be continued"
    if tally.power_cuts:
        yield f"power cuts   {tally.power_cuts:,}"
    yield f"verified     {_verified(tally)}"
    yield from _outages(tally)
    yield f"guests saw   gaps: {summarize(tally.gaps)}"
    yield from (f"  {line}" for line in text_histogram(tally.gaps))
    if tally.rates:
        low, middle = min(tally.rates), percentile(sorted(tally.rates), 50)
        yield f"throughput   {middle:,.0f} requests a second (median), least {low:,.0f}"
        yield f"  {_sparks(tally.rates)}"


def verdict(plan: Plan, tally: Tally) -> list[str]:
    """`PASS`; or `FAIL`, why, and how to have it again."""
    wrong = [*tally.problems, *missed(plan, tally)]
    if not wrong:
        return ["PASS"]
    found = ["FAIL", *wrong]
    if tally.failed_seed is not None:
        found.append(f"again: {plan.command(tally.failed_seed, tally.failed_seconds)}")
    return found


def missed(plan: Plan, tally: Tally) -> list[str]:
    """Goals that were not reached and faults that never came, though nobody ended it before."""
    goals = ((plan.recoveries, tally.recoveries, "recoveries"), (plan.zombies, tally.zombies, ""))
    if tally.interrupted is not None:
        return []
    behind = [
        f"{found:,} {name or 'zombies'} in the time, {wanted:,} were wanted"
        for wanted, found, name in goals
        if found < wanted
    ]
    return [*behind, *_never(tally)]


def _never(tally: Tally) -> Iterator[str]:
    """Kinds that were drawn often enough, and met nothing or were refused each time."""
    if tally.drawn.total() >= ENOUGH and tally.done.total() == tally.idle.total():
        yield f"none of {tally.drawn.total():,} faults took place"
        return
    for kind, count in sorted(tally.drawn.items()):
        if count >= ENOUGH and tally.done[kind] == tally.idle[kind]:
            yield f"none of {count:,} faults of the kind {kind} took place"


def plain(plan: Plan, tally: Tally) -> dict[str, Any]:
    """The report for programs; times are milliseconds, latencies of guests microseconds."""
    gaps = summarize(tally.gaps)
    return {
        "pass": verdict(plan, tally) == ["PASS"],
        "problems": [*tally.problems, *missed(plan, tally)],
        "seed": plan.seed,
        "seconds": tally.seconds,
        "rounds": tally.rounds,
        "interrupted": tally.interrupted is not None,
        "faults": dict(tally.done),
        "survived": dict(tally.survived),
        "met_nothing": dict(tally.idle),
        "refused": tally.refused,
        "recoveries": tally.recoveries,
        "upgrades": tally.upgrades,
        "standbys_replaced": tally.standbys_lost,
        "swaps": {"count": len(tally.swaps), **_three_named(tally.swaps)},
        "zombies": tally.zombies,
        "zombies_alive": tally.zombies_alive,
        "power_cuts": tally.power_cuts,
        "requests": tally.requests,
        "outages": {
            kind: {step: _three_named(times) for step, times in steps.items() if times}
            for kind, steps in _by_kind(tally.outages).items()
        },
        "gaps": {"count": gaps.count, "p50": gaps.p50, "p99": gaps.p99, "max": gaps.longest},
        "requests_per_second": tally.rates,
    }


def three(times: Iterable[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum of at least one."""
    found = summarize(times)
    return found.p50, found.p99, found.longest


def _verified(tally: Tally) -> str:
    """What guests counted; those whose power was cut have told only a part."""
    if not tally.finished:
        return f"{tally.requests:,} requests, {tally.flushes:,} flushes"
    return (
        f"{tally.requests:,} requests, {tally.writes:,} of them writes, "
        f"{tally.flushes:,} flushes, {tally.lines:,} lines, {tally.entropy:,} reads of entropy"
    )


def _three_named(times: list[float]) -> dict[str, float]:
    return dict(zip(("p50", "p99", "max"), three(times), strict=True)) if times else {}


def _by_kind(outages: Iterable[tuple[str, Outage]]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for kind, outage in sorted(outages, key=lambda item: item[0]):
        steps = found.setdefault(kind, {step: [] for step in TIMES})
        for step, time in {**outage.steps_ms(), "total": outage.total_ms}.items():
            steps[step].append(time)
    return found


def _outages(tally: Tally) -> Iterator[str]:
    """A table: kinds of faults and the steps of their outages."""
    kinds = _by_kind(tally.outages)
    if not kinds:
        return
    shown = [step for step in TIMES if step != "retry" or any(s[step] for s in kinds.values())]
    yield "outages      milliseconds: p50 / p99 / max"
    rows = [("", "", *shown)]
    for kind, steps in kinds.items():
        times = (steps[step] for step in shown)
        cells = (" / ".join(f"{ms:.1f}" for ms in three(t)) if t else "" for t in times)
        rows.append((kind, str(len(steps["total"])), *cells))
    width = max(22, *(len(cell) for row in rows for cell in row))
    for kind, count, *row in rows:
        yield f"  {kind:<14}{count:>6}" + "".join(f"  {cell:>{width}}" for cell in row)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counter.items()))


def _count(count: int, thing: str) -> str:
    plural = thing if count == 1 else f"{thing}{'es' if thing.endswith('S') else 's'}"
    return f"{count} {plural}"


def _sparks(rates: list[float]) -> str:
    """A line of at most so many bars, from nothing to the highest rate."""
    size = -(-len(rates) // _SPARK_LINE)
    means = [
        sum(part) / len(part) for part in (rates[i : i + size] for i in range(0, len(rates), size))
    ]
    highest = max(means) or 1.0
    return "".join(_SPARKS[min(int(mean / highest * 8), 7)] for mean in means)
