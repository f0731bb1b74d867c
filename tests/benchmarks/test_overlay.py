import random

from benchmarks.overlay import laid_over
from splitvisor.checks.storm import Gap
from splitvisor.supervisor.outage import Outage

MS = 1_000_000


def outage(at, length):
    return Outage("", at * MS, first_completion=(at + length) * MS)


def test_each_outage_gets_the_gap_around_it_among_many_others():
    luck = random.Random(3)
    shift = 123_456
    times = [1000 * n + luck.randrange(500) for n in range(1, 20)]
    lengths = [luck.randrange(5, 40) for _ in times]
    gaps = [Gap((n + 2) * 1000, at + n + 1) for at, n in zip(times, lengths, strict=True)]
    noise = [Gap(luck.randrange(2000, 4000), 10 * n) for n in range(2000)]
    noise = [n for n in noise if not any(t - 5 < n.ended_ms < t + 50 for t in times)]
    noise += [Gap(90_000, 700 + 1000 * n) for n in range(20)]
    outages = [outage(at + shift, n) for at, n in zip(times, lengths, strict=True)]
    found = laid_over(sorted(gaps + noise, key=lambda gap: gap.ended_ms), outages)
    assert found == [n + 2 for n in lengths]


def test_an_outage_that_nobody_saw_has_none():
    gaps = [Gap(10_000, 1010), Gap(10_000, 2010)]
    assert laid_over(gaps, [outage(1, 9), outage(1001, 9), outage(1500, 9)]) == [10, 10, 0]
