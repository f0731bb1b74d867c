"""Sums and words of a campaign."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from splitvisor.chaos import report
from splitvisor.chaos.plan import Plan
from splitvisor.chaos.tally import Tally
from splitvisor.chaos.witness import Testimony
from splitvisor.checks.storm import parse
from splitvisor.supervisor.outage import Outage

PLAN = Plan(seed=4, seconds=60, kinds=("kill", "hang"))
MS = 1_000_000


def outage(cause, detect, fence, planned=False):
    """Of an order to kill, and its first two steps in milliseconds."""
    begun = 1000 * MS
    detected = begun + detect * MS
    return Outage(cause, detected, killed=begun, fenced=detected + fence * MS, planned=planned)


@pytest.fixture
def tally():
    kills = [("kill", outage("died", 1, n)) for n in range(1, 101)]
    return Tally(
        rounds=2,
        seconds=50.0,
        done=Counter(kill=101, hang=3),
        idle=Counter(hang=3),
        survived=Counter(garble=2),
        outages=[*kills, ("upgrade", outage("upgrade", 0, 9, planned=True))],
        requests=12345,
        gaps=[2000.0, 5000.0, 9000.0],
        rates=[100.0, 800.0, 800.0],
    )


def test_a_report_has_the_sums_and_the_steps(tally):
    text = "\n".join(report.lines(PLAN, tally))
    assert "seed 4, 50.0 s, 2 rounds, 1 guest at depth 32 on file disks of 64M" in text
    assert "faults       104: hang 3, kill 101" in text
    assert "survived     2: garble 2" in text
    assert "met nothing  3: hang 3" in text
    assert "recoveries   100, 2.00 a second; 1 upgrades" in text
    assert "12,345 requests" in text
    kills = next(line for line in text.splitlines() if line.startswith("  kill"))
    assert kills.split() == [
        "kill",
        "100",
        *["1.0", "/", "1.0", "/", "1.0", "50.0", "/", "99.0", "/", "100.0"],
        *["51.0", "/", "100.0", "/", "101.0"],
    ]
    assert "guests saw   gaps: 3 times, p50 5 ms, p99 9 ms, max 9 ms" in text
    assert "throughput   800 requests a second (median), least 100" in text
    assert text.endswith("▂██")


def test_the_verdict_and_how_to_have_it_again(tally):
    assert report.verdict(PLAN, tally) == ["PASS"]
    tally.problems.append("storm0: 1 I/O errors")
    tally.failed_seed, tally.failed_seconds = 5, 60
    verdict = report.verdict(PLAN, tally)
    assert verdict[:2] == ["FAIL", "storm0: 1 I/O errors"]
    assert verdict[2].startswith("again: splitvisor chaos --seed=5 --for=60s --faults=kill,hang ")


def test_a_goal_that_was_missed_is_a_failure_unless_interrupted(tally):
    plan = replace(PLAN, recoveries=101, zombies=1)
    assert report.verdict(plan, tally) == [
        "FAIL",
        "100 recoveries in the time, 101 were wanted",
        "0 zombies in the time, 1 were wanted",
    ]
    assert report.verdict(replace(PLAN, recoveries=100), tally) == ["PASS"]
    tally.interrupted = KeyboardInterrupt()
    assert report.verdict(plan, tally) == ["PASS"]


def test_faults_that_never_take_place_are_a_failure_unless_interrupted(tally):
    tally.drawn = Counter(kill=101, hang=4, swap=5)
    tally.done += Counter(hang=1)
    assert report.verdict(PLAN, tally) == ["FAIL", "none of 5 faults of the kind swap took place"]
    tally.drawn = Counter(hang=5)
    tally.done, tally.idle = Counter(hang=3), Counter(hang=3)  # the others were refused
    assert report.verdict(PLAN, tally) == ["FAIL", "none of 5 faults took place"]
    assert not report.plain(PLAN, tally)["pass"]
    tally.done["hang"] = 4
    assert report.verdict(PLAN, tally) == ["PASS"]
    tally.done["hang"], tally.interrupted = 3, KeyboardInterrupt()
    assert report.verdict(PLAN, tally) == ["PASS"]


def test_for_programs(tally):
    told = json.loads(json.dumps(report.plain(PLAN, tally)))
    assert (told["pass"], told["recoveries"], told["upgrades"]) == (True, 100, 1)
    assert (told["survived"], told["met_nothing"]) == ({"garble": 2}, {"hang": 3})
    assert told["outages"]["kill"]["fence"] == {"p50": 50.0, "p99": 99.0, "max": 100.0}
    assert set(told["outages"]["kill"]) == {"detect", "fence", "total"}
    assert told["gaps"] == {"count": 3, "p50": 5000.0, "p99": 9000.0, "max": 9000.0}


def test_swaps_are_told_with_their_pauses(tally):
    assert report.plain(PLAN, tally)["swaps"] == {"count": 0}
    tally.swaps = [float(ms) for ms in range(1, 101)]
    told = report.plain(PLAN, tally)["swaps"]
    assert told == {"count": 100, "p50": 50.0, "p99": 99.0, "max": 100.0}
    text = "\n".join(report.lines(PLAN, tally))
    assert "swaps        100 drivers, pauses of 50.0 / 99.0 / 100.0 ms (p50 / p99 / max)" in text


def test_retries_have_a_column_when_there_are_any(tally):
    def head():
        found = list(report.lines(PLAN, tally))
        return found[next(i for i, line in enumerate(found) if line.startswith("outages")) + 1 :]

    assert head()[0].split() == ["detect", "fence", "promote", "attach", "replay", "total"]
    tally.outages.append(("kill", replace(outage("died", 1, 2), retried=1010 * MS)))
    columns, kill, *_ = head()
    assert columns.split()[:3] == ["detect", "fence", "retry"]
    assert "7.0 / 7.0 / 7.0" in kill
    told = report.plain(PLAN, tally)["outages"]["kill"]
    assert told["retry"] == {"p50": 7.0, "p99": 7.0, "max": 7.0}


def test_columns_stay_apart_however_long_the_times_are(tally):
    tally.outages = [("kill", outage("died", 12345, 123456))]
    kill = next(line for line in report.lines(PLAN, tally) if line.startswith("  kill"))
    times = [" / ".join([f"{ms}.0"] * 3) for ms in (12345, 123456, 135801)]
    assert [cell.strip() for cell in kill.split("  ") if cell.strip()][2:] == times


def test_what_guests_had_no_time_to_count_is_not_told(tally, said, workload):
    def verified():
        return next(line for line in report.lines(PLAN, tally) if line.startswith("verified"))

    assert verified() == "verified     12,345 requests, 0 flushes"
    tally.hear([parse("".join(said(workload, 6)))])
    assert " of them writes, " in verified()


def test_where_it_stands(tally):
    now = Testimony(outages=[("kill", outage("died", 2, 5))])
    line = report.progress_line(replace(PLAN, recoveries=222), tally, now, 60.6)
    assert line.split(", ") == [
        "   60.6 s",
        "round 2",
        "101 recoveries",
        "1.67 a second",
        "the last took 7.0 ms",
        "1 min to go",
    ]


def test_what_guests_said_is_added_up(said, workload):
    log = parse("".join(said(workload, 6)))
    tally = Tally()
    tally.hear([log, log])
    assert tally.requests == 18000
    assert tally.gaps == [2002.0, 2005.0] * 2
    assert tally.rates == [4000, 6000]
    cut_off = parse("".join(said(workload, 6)[:-2]))
    tally.hear([cut_off])
    assert tally.requests == 23000
    assert tally.flushes == 9


@pytest.mark.parametrize("wrong", ["doubled", "counted back", "cut"])
def test_what_a_wrong_console_says_is_added_up_as_well(said, workload, wrong):
    lines = said(workload, 6)
    if wrong == "doubled":
        lines.insert(-2, "storm: at 2 5000\n")
    elif wrong == "counted back":
        lines.insert(-2, "storm: at 3 50\n")
    else:
        lines[-2] = lines[-2].replace("=2000000", "")
    tally = Tally()
    tally.hear([parse("".join(lines))])
    assert tally.rates == [2000, 3000]
    assert tally.finished == (wrong != "cut")
    assert list(report.lines(PLAN, tally))
