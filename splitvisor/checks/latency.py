"""Percentiles of latencies, and their histogram as text.

Buckets are powers of two divided in two, because outages spread over orders of magnitude.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BAR = 40  # characters of the longest bar
_UNITS = ((1_000_000, "s"), (1_000, "ms"), (1, "us"))


@dataclass(frozen=True, slots=True)
class Summary:
    """Of latencies in microseconds; all 0 if there are none."""

    count: int
    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        times = f"p50 {show(self.p50)}, p99 {show(self.p99)}, max {show(self.longest)}"
        return f"{self.count} times, {times}" if self.count else "none"


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many latencies are at least `begin` and below `end` microseconds."""

    begin: float
    end: float
    count: int


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of `ordered` (ascending, not empty) that `percent` of all do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def summarize(microseconds: Iterable[float]) -> Summary:
    """The figures that matter."""
    ordered = sorted(microseconds)
    if not ordered:
        return Summary(0, 0.0, 0.0, 0.0)
    return Summary(len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def buckets(microseconds: Iterable[float]) -> list[Bucket]:
    """From the smallest to the largest latency without a hole; what is below 1 us counts as 1."""
    counts: dict[int, int] = {}
    for value in microseconds:
        place = _place(value)
        counts[place] = counts.get(place, 0) + 1
    if not counts:
        return []
    return [
        Bucket(_edge(place), _edge(place + 1), counts.get(place, 0))
        for place in range(min(counts), max(counts) + 1)
    ]


def text_histogram(microseconds: Iterable[float]) -> list[str]:
    """A line for each bucket: its bounds, its count, a bar."""
    found = buckets(microseconds)
    highest = max((bucket.count for bucket in found), default=1)
    width = len(f"{highest:,}")
    return [
        f"{show(b.begin):>8} to {show(b.end):>8} {b.count:>{width},} "
        f"{'#' * -(-b.count * _BAR // highest)}".rstrip()
        for b in found
    ]


def show(microseconds: float) -> str:
    """In a unit that people read, with three digits at most."""
    factor, unit = next((u for u in _UNITS if microseconds >= u[0]), _UNITS[-1])
    value = microseconds / factor
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def _place(microseconds: float) -> int:
    """The bucket: two for each power of two."""
    whole = max(int(microseconds), 1)
    power = whole.bit_length() - 1
    return 2 * power + (2 * whole >= 3 << power)


def _edge(place: int) -> float:
    """Where bucket `place` begins: 1, 1.5, 2, 3, 4, 6, 8, ..."""
    return float(1 << place // 2) * (1.5 if place % 2 else 1)
