"""Scheduler, pCPUs and accounts as tables and words."""

import pytest

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli import render_sched
from tests.splitvisor.cli.test_render import lines

S = 1_000_000_000
MS = 1_000_000


@pytest.fixture
def machine():
    run = core.VcpuStatus(
        state="running",
        pcpu=1,
        run_ns=3 * S,
        wait_ns=1 * S,
        halted_ns=2 * S,
        blocked_ns=3 * S,
        paused_ns=1 * S,
        switches=12345,
        exits_by_reason={"port": 7, "mmio": 1200, "halt": 0},
        schedule=core.Schedule(
            weight=512, cap=50, budget_ns=2 * MS, period_ns=10 * MS, affinity=[0, 1]
        ),
    )
    never = core.VcpuStatus(index=1, state="halted", schedule=core.Schedule(weight=256))
    return operator.MachineStatus(
        name="lab",
        guests=[core.GuestStatus(name="web", vcpus=[run, never])],
        scheduler=core.SchedulerStatus(
            policy="credit",
            slice_ns=10 * MS,
            policies=["credit", "deadline", "round_robin"],
            pcpus=[
                core.PcpuStatus(host_cpu=2, running="web/0", busy_ns=1500 * MS, switches=1000),
                core.PcpuStatus(index=1, host_cpu=3),
            ],
        ),
    )


def rows(table, width=200):
    return [line.split() for line in lines(table, width)]


def test_the_title_says_who_decides_and_who_could(machine):
    assert render_sched.scheduler_title(machine) == (
        "machine lab: policy credit (deadline, round_robin are there too), slice 10ms"
    )


def test_pcpus_with_who_runs_there(machine):
    text = rows(render_sched.pcpus_table(machine))
    assert ["0", "2", "1.50", "s", "1,000", "web/0"] in text
    assert ["1", "3", "0.00", "s", "0", "-"] in text


def test_vcpus_with_where_their_time_went_and_why_they_came_out(machine):
    text = rows(render_sched.vcpus_table(machine))
    times = ["3.00", "s", "1.00", "s", "2.00", "s"]
    exits = ["mmio", "1,200", "port", "7"]  # the most frequent first, and what never was is not
    assert ["web/0", "running", "1", *times, "12,345", *exits] in text
    assert ["web/1", "halted", "-", *["0.00", "s"] * 3, "0"] in text


def test_schedules_with_what_was_said_and_what_was_got(machine):
    text = rows(render_sched.schedules_table(machine))
    said = ["512", "50", "%", "2ms", "10ms", "0,1"]
    got = ["3.00", "s", "30.0", "%", "1.00", "s", "2.00", "s", "12,345"]  # 3 of 10 seconds
    assert ["web/0", "running", "1", *said, *got] in text
    got = ["0.00", "s", "0.0", "%", "0.00", "s", "0.00", "s", "0"]
    assert ["web/1", "halted", "-", "256", "-", "-", "-", "all", *got] in text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"weight": 256}, "weight 256, no cap, on all pCPUs"),
        ({"weight": 1, "cap": 5, "affinity": [1, 3]}, "weight 1, cap 5 %, on pCPU 1, 3"),
        (
            {"weight": 256, "budget_ns": 2 * MS, "period_ns": 10 * MS},
            "weight 256, no cap, 2ms in every 10ms, on all pCPUs",
        ),
    ],
)
def test_a_schedule_in_words(said, words):
    assert render_sched.schedule_text(core.Schedule(**said)) == words


def test_an_account_in_words(machine):
    vcpu = machine.guests[0].vcpus[0]
    assert render_sched.account_text(vcpu) == (
        "running, run 3.00 s, steal 1.00 s, halted 2.00 s, 12,345 switches, mmio 1,200 port 7"
    )
