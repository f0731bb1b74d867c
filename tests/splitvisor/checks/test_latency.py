"""Percentiles and histograms, against the definition."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitvisor.checks.latency import buckets, percentile, show, summarize, text_histogram

TIMES = st.lists(st.integers(0, 10**8), min_size=1)


@given(times=TIMES, percent=st.integers(1, 100))
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(times, percent):
    found = percentile(sorted(times), percent)
    assert found in times
    assert 100 * sum(t <= found for t in times) >= percent * len(times)
    assert 100 * sum(t < found for t in times) < percent * len(times)


@given(times=TIMES)
def test_every_time_is_in_its_bucket(times):
    found = buckets(times)
    assert all(a.end == b.begin for a, b in pairwise(found))
    for bucket in found:
        inside = sum(bucket.begin <= max(t, 1) < bucket.end for t in times)
        assert bucket.count == inside
    assert sum(bucket.count for bucket in found) == len(times)


def test_the_summary():
    summary = summarize(range(1, 201))
    assert (summary.count, summary.p50, summary.p99, summary.longest) == (200, 100, 198, 200)
    assert str(summary) == "200 times, p50 100 us, p99 198 us, max 200 us"
    assert str(summarize([])) == "none"


def test_the_text():
    assert text_histogram([5000] * 40 + [7000] * 10 + [20_000]) == [
        "  4.1 ms to  6.14 ms 40 " + "#" * 40,
        " 6.14 ms to  8.19 ms 10 " + "#" * 10,
        " 8.19 ms to  12.3 ms  0",
        " 12.3 ms to  16.4 ms  0",
        " 16.4 ms to  24.6 ms  1 #",
    ]
    assert text_histogram([]) == []


@pytest.mark.parametrize(
    ("time", "text"),
    [(0, "0 us"), (999, "999 us"), (1234, "1.23 ms"), (999_900, "1,000 ms"), (61_000_000, "61 s")],
)
def test_times_are_readable(time, text):
    assert show(time) == text
