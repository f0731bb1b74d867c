"""Which gap that a guest saw belongs to which outage, though the two clocks begin apart."""

from bisect import bisect_left
from collections.abc import Sequence

from splitvisor.checks.storm import Gap
from splitvisor.supervisor.outage import Outage


def laid_over(gaps: Sequence[Gap], outages: Sequence[Outage]) -> list[float]:
    """Milliseconds of the gap around each outage; 0 where the guest saw none.

    Every gap is tried as that of the first outage; the shift of the clocks at which the outages are
    best filled by the gaps around them is the right one.
    """
    ends = [gap.ended_ms for gap in gaps]
    # Where nothing was in flight, the first completion may come later than the event that tells.
    until = [outage.first_completion or outage.attached for outage in outages]
    middles = [(o.detected + end) / 2e6 for o, end in zip(outages, until, strict=True)]
    lasted = [(end - o.detected) / 1e6 for o, end in zip(outages, until, strict=True)]
    found: list[float] = [0.0] * len(middles)
    for gap in gaps:
        shift = middles[0] - (gap.ended_ms - gap.microseconds / 2000)
        tried = [_around(gaps, ends, middle - shift) for middle in middles]
        if _filled(tried, lasted) > _filled(found, lasted):
            found = tried
    return found


def _around(gaps: Sequence[Gap], ends: Sequence[int], when: float) -> float:
    """Milliseconds of the gap at that time, 0 if there is none."""
    place = bisect_left(ends, when)
    if place == len(gaps):
        return 0.0
    length = gaps[place].microseconds / 1000
    return length if gaps[place].ended_ms - length <= when else 0.0


def _filled(gaps: Sequence[float], outages: Sequence[float]) -> float:
    return sum(min(gap / outage, 1) for gap, outage in zip(gaps, outages, strict=True))
