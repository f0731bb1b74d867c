"""Logs become values."""

import pytest

from splitvisor.checks.storm import Gap, parse


def test_a_whole_run(workload, said):
    log = parse("".join(said(workload, 6)))
    assert log is not None
    assert (log.workload, log.depth, log.hz) == (workload, 32, 2_000_000_000)
    assert (log.passed, log.verdict) == (True, "PASS 9000 requests")
    assert log.result["submitted"] == 8000
    assert log.gaps == (Gap(2002, 600), Gap(2005, 1500))
    assert log.seconds == ((1, 2000), (2, 5000))
    assert log.rates == [2000, 3000]
    assert log.throughput == 4000
    assert (log.flushed, log.durable) == ((100, 300, 500), 500)


def test_a_run_that_is_under_way_has_no_verdict(workload, said):
    log = parse("".join(said(workload, 6)[:3]))
    assert log is not None
    assert (log.passed, log.verdict, log.result, log.throughput) == (False, "", {}, 0)
    assert log.durable == 0
    assert parse("SeaBIOS\n") is None


@pytest.mark.parametrize("words", ["FAIL LBA 8, read 3: expected writes 1 to 2, found 0"])
def test_a_failure_and_io_errors(workload, said, words):
    log = parse(said(workload, 0)[0] + f"storm: failed write 17\nstorm: {words}\n")
    assert log is not None
    assert (log.passed, log.verdict, log.failed) == (False, words, {17})


def test_of_several_runs_the_last_counts(workload, said):
    log = parse("".join([*said(workload, 6), *said(workload, 1)[:1]]))
    assert log is not None
    assert (log.verdict, log.flushed) == ("", ())


def test_seconds_that_come_twice_or_late_and_counts_that_go_back_make_no_rates(workload, said):
    start = said(workload, 0)[0]
    lines = ["at 1 2000", "at 2 5000", "at 2 5000", "at 1 2000", "at 3 10", "at 4 9000"]
    log = parse(start + "".join(f"storm: {line}\n" for line in lines))
    assert log is not None
    assert log.rates == [2000, 3000, 2000]


@pytest.mark.parametrize("lost", [" in_ti", "=", "0x"])
def test_a_result_line_with_bytes_missing_counts_nothing(workload, said, lost):
    lines = said(workload, 6)
    lines[-2] = lines[-2].replace(lost, "", 1)
    log = parse("".join(lines))
    assert log is not None
    assert (log.result, log.throughput, log.passed) == ({}, 0, True)


def test_a_result_line_without_a_counter_has_the_others(workload, said):
    log = parse("".join(said(workload, 6)).replace("in_time=8000 ", ""))
    assert log is not None
    assert (log.result["submitted"], log.throughput) == (8000, 0)
