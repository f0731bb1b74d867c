"""The benchmark of swaps in short; what it measures is judged by the guest as it goes."""

from benchmarks.swap import show, swaps


def test_two_hundred_swaps_in_a_row():
    seen = swaps(200, seconds=20)
    assert len(seen.pauses) == len(seen.calls) == 200
    assert all(0 < pause <= call for pause, call in zip(seen.pauses, seen.calls, strict=True))
    assert seen.requests > 200


def test_a_row_has_percentiles_and_whether_the_target_holds(capsys):
    times = [float(ms) for ms in range(1, 1002)]
    show("swaps", times, 991)
    show("swaps", times, 990)
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == [
        *("swaps", "501.0", "ms", "p99", "991.0,", "p99.9", "1000.0,", "max", "1001.0", "ms;"),
        *("holds:", "p99", "at", "most", "991", "ms"),
    ]
    assert "MISSES: p99 at most 990 ms" in second
