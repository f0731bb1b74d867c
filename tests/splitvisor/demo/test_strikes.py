"""What strikes cost, as a table and as JSON, and when they were enough."""

import io
import json

import pytest
from rich.console import Console

from splitvisor.demo.play import Outcome
from splitvisor.demo.strikes import Recovery, Strike, outages_table, plain
from splitvisor.supervisor.outage import Outage

MS = 1_000_000


def outage(warm=True):
    return Outage(
        cause="died by signal 9 (SIGKILL)",
        killed=10 * MS,
        detected=13 * MS,
        fenced=14 * MS,
        promoted=16 * MS,
        attached=20 * MS,
        replayed=28 * MS,
        first_completion=21 * MS,
        requests=40,
        warm=warm,
    )


def recovery(signal, disk_requests=32, warm=True):
    return Recovery(Strike(signal, 7, "25%", 31), 8, outage(warm), disk_requests)


def rows(recoveries):
    console = Console(file=io.StringIO(), width=200)
    console.print(outages_table(recoveries))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()[2:]]


def test_a_line_tells_the_steps_of_an_outage():
    assert rows([recovery("SIGKILL"), recovery("SIGSTOP", warm=False)]) == [
        "SIGKILL to 7 25% 3.0 ms 1.0 ms 2.0 ms 4.0 ms 8.0 ms 18.0 ms 40 8, a standby",
        "SIGSTOP to 7 25% 3.0 ms 1.0 ms 2.0 ms 4.0 ms 8.0 ms 18.0 ms 40 8, started anew",
    ]


def test_what_was_tried_in_vain_has_a_column_if_there_was_any():
    tried = recovery("SIGKILL")
    tried.outage.retried = 15 * MS
    assert rows([recovery("SIGKILL"), tried]) == [
        "SIGKILL to 7 25% 3.0 ms 1.0 ms - 2.0 ms 4.0 ms 8.0 ms 18.0 ms 40 8, a standby",
        "SIGKILL to 7 25% 3.0 ms 1.0 ms 1.0 ms 1.0 ms 4.0 ms 8.0 ms 18.0 ms 40 8, a standby",
    ]


def test_an_outage_that_nobody_asked_for_tells_its_cause():
    (row,) = rows([Recovery(None, 8, outage(), 0)])
    assert row.startswith("died by signal 9 (SIGKILL) - 3.0 ms")


def test_json_has_all_of_it():
    told = json.loads(json.dumps(plain(recovery("SIGKILL"))))
    assert (told["signal"], told["struck_pid"], told["replaced_by_pid"]) == ("SIGKILL", 7, 8)
    assert (told["in_flight"], told["replayed"], told["replayed_of_disk"]) == (31, 40, 32)
    assert (told["outage_ms"], told["first_completion_ms"], told["warm"]) == (18.0, 11.0, True)
    assert told["steps_ms"]["replay"] == 8.0
    assert plain(Recovery(None, 8, outage(), 0))["signal"] is None


@pytest.mark.parametrize(
    ("recoveries", "enough"),
    [
        ([recovery("SIGKILL"), recovery("SIGSTOP"), recovery("SIGKILL")], True),
        ([recovery("SIGKILL"), recovery("SIGKILL")], False),
        ([recovery("SIGKILL"), recovery("SIGSTOP"), recovery("SIGKILL", 0)], False),
        ([recovery("SIGKILL"), recovery("SIGSTOP"), Recovery(None, 8, outage(), 32)], False),
        ([recovery("SIGSTOP"), recovery("SIGKILL", 0), *[recovery("SIGKILL")] * 2], True),
    ],
    ids=["all", "no stop", "nothing to replay", "by itself", "again"],
)
def test_two_kills_and_a_stop_with_something_to_replay_are_enough(recoveries, enough):
    assert Outcome(recoveries=recoveries).all_recovered() is enough
