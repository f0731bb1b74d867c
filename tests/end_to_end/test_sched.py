"""Scheduling of real guests, looked at and changed while they run.

Judged coarsely: others use the host's CPUs, too. `make bench` has the exact figures.
"""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.end_to_end.conftest import needs_kvm

S = 1_000_000_000
HOST = sorted(os.sched_getaffinity(0))
ONE = f"[scheduler]\npcpus = [{HOST[0]}]\n"
TWO = f"[scheduler]\npcpus = [{HOST[0]}, {HOST[-1]}]\n"
WORK = re.compile(r"spin: work=(\d+)")


@pytest.fixture
def lab(tmp_path, guest):
    """A machine file; each guest is the lines of its table, and computes if they name no image."""

    def write(head, **tables):
        path = tmp_path / "lab.toml"
        text = head
        for name, lines in tables.items():
            text += f'[guests.{name}]\nmemory = "8M"\ncom1 = false\nentropy = false\n'
            text += f'console = "log:path={name}.log"\n'
            if "image" not in lines:
                text += f'image = "{guest("spin")}"\n'
            text += f"{lines}\n"
        path.write_text(text)
        return path

    return write


@contextmanager
def running(splitvisor, file):
    with splitvisor.start("up", file) as process:
        process.until("machine lab runs")
        yield process
        if process.process.poll() is None:
            assert splitvisor("stop") == (0, "", "")
        assert process.end()[0] == 0


@contextmanager
def events(splitvisor, *options):
    """What `splitvisor events` tells, as objects."""
    command = splitvisor.command("events", "lab", "--json", *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process, map(json.loads, process.stdout)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.stdout.close()
        assert process.stderr.read() == b""


@contextmanager
def accounts(splitvisor):
    """The accounts of all guests, told every 50 ms."""
    with events(splitvisor, "--accounting", "50ms") as (_, told):
        yield (event for event in told if event["kind"] == "accounting")


def gains(told, names, wanted=S // 2):
    """Nanoseconds that each guest runs, while from now on all together do for that long."""
    first, last, now = {}, {}, time.monotonic_ns()
    for event in told:
        if event["guest"] in names and event["monotonic_ns"] > now:
            run = sum(vcpu["run_ns"] for vcpu in event["vcpus"])
            first.setdefault(event["guest"], run)
            last[event["guest"]] = run
            found = {name: run - first[name] for name, run in last.items()}
            if len(found) == len(names) and sum(found.values()) >= wanted:
                return found
    raise AssertionError("the events ended")


def said(splitvisor, *arguments):
    """What a verb of `sched` prints; it does not fail."""
    status, output, errors = splitvisor("sched", *arguments)
    assert (status, errors) == (0, "")
    return output


def state(splitvisor):
    (scheduler,) = json.loads(said(splitvisor, "status", "--json"))["schedulers"]
    return scheduler


def test_shares_follow_what_is_said_while_guests_run(splitvisor, lab, tmp_path, cpu):
    every = "1K" if cpu == "emulated" else "50K"
    table = f'cpu = "{cpu}"\narguments = "every={every}"'
    with running(splitvisor, lab(ONE, a=table, b=table)), accounts(splitvisor) as told:
        before = {name: work(tmp_path, name) for name in "ab"}
        line = "a/0: weight 2048, no cap, on all pCPUs\n"
        assert said(splitvisor, "set", "lab/a", "--weight", "2048") == line
        ran = gains(told, "ab")
        assert ran["a"] > 3 * ran["b"] > 0  # eight times, where nobody disturbs
        for name in "ab":  # and it is the guests' own work
            assert work(tmp_path, name) > before[name]
        line = "a/0: weight 2048, cap 20 %, on all pCPUs\n"
        assert said(splitvisor, "set", "lab/a/0", "--cap", "20") == line
        ran = gains(told, "ab")
        assert 0 < ran["a"] < ran["b"] / 2  # a fourth


def test_policies_take_over_from_each_other_while_guests_run(splitvisor, lab):
    with (
        running(splitvisor, lab(ONE, a="schedule = { weight = 2048 }", b="")),
        accounts(splitvisor) as told,
    ):
        line = "policy round_robin, slice 5ms\n"
        assert said(splitvisor, "policy", "round_robin", "--slice", "5ms") == line
        ran = gains(told, "ab")  # which knows no weight
        assert ran["a"] < 3 * ran["b"]
        assert said(splitvisor, "policy", "lab", "deadline") == "policy deadline, slice 5ms\n"
        line = "b/0: weight 256, no cap, 6ms in every 10ms, on all pCPUs\n"
        assert said(splitvisor, "set", "lab/b", "--budget", "6ms", "--period", "10ms") == line
        ran = gains(told, "ab")
        assert ran["b"] > ran["a"] > 0  # though a has eight times its weight
        status, output, errors = splitvisor(
            *("sched", "set", "/a", "--budget", "5ms", "--period", "10ms")
        )
        assert (status, output, errors.count("\n")) == (2, "", 1)
        assert "vCPU a/0: the reservation takes 52.0 % of a pCPU" in errors
        assert said(splitvisor, "policy", "credit") == "policy credit, slice 5ms\n"
        ran = gains(told, "ab")
        assert ran["a"] > 3 * ran["b"] > 0


def work(tmp_path, name):
    """What a guest has told of its work so far."""
    told = WORK.findall((tmp_path / f"{name}.log").read_text())
    return int(told[-1]) if told else 0


def test_guests_run_where_they_may(splitvisor, lab):
    tables = {"a": "schedule = { affinity = [1] }", "b": ""}
    with running(splitvisor, lab(TWO, **tables)), accounts(splitvisor) as told:
        assert places(told, "ab")["a"] == {1}
        line = "a/0: weight 256, no cap, on pCPU 0\n"
        assert said(splitvisor, "set", "lab/a", "--affinity", "0") == line
        said(splitvisor, "set", "lab/b", "--affinity", "0")
        assert places(told, "ab") == {"a": {0}, "b": {0}}
        one, other = state(splitvisor)["pcpus"]
        assert one["running"] in ("a/0", "b/0", "")
        assert other["running"] == ""
        line = "b/0: weight 256, no cap, on all pCPUs\n"
        assert said(splitvisor, "set", "lab/b", "--affinity", "all") == line
        gains(told, "ab")
        assert state(splitvisor)["pcpus"][1]["busy_ns"] > other["busy_ns"]


def places(told, names, wanted=3):
    """The pCPUs that each guest is on from now on, looked at so many times after a switch."""
    seen, now, found = dict.fromkeys(names, 0), time.monotonic_ns(), {name: set() for name in names}
    for event in told:
        if event["monotonic_ns"] > now:
            (vcpu,) = event["vcpus"]
            found[event["guest"]].add(vcpu["pcpu"])
            seen[event["guest"]] += 1
            if min(seen.values()) == wanted:
                return found
    raise AssertionError("the events ended")


def test_what_a_machine_file_says_is_so(splitvisor, lab, guest):
    head = f'[machine]\nmemory_budget = "20M"\n{TWO}policy = "deadline"\nslice = "2ms"\n'
    echo = f'image = "{guest("echo")}"\n'
    schedule = 'weight = 5, cap = 30, budget = "1ms", period = "20ms", affinity = [1]'
    with running(splitvisor, lab(head, a=f"{echo}schedule = {{ {schedule} }}", b=echo)):
        found = state(splitvisor)
        assert (found["policy"], found["slice_ns"]) == ("deadline", S // 500)
        assert [pcpu["host_cpu"] for pcpu in found["pcpus"]] == [HOST[0], HOST[-1]]
        assert [g["name"] for g in found["guests"]] == ["a", "b"]
        (vcpu,) = found["guests"][0]["vcpus"]
        assert vcpu["schedule"] == {
            "weight": 5,
            "cap": 30,
            "budget_ns": S // 1000,
            "period_ns": S // 50,
            "affinity": [1],
        }
        table = said(splitvisor, "status", "lab")
        for words in ("machine lab: policy deadline", "slice 2ms", "a/0", "30 %", "1ms", "20ms"):
            assert words in table
        (machine,) = json.loads(splitvisor("ps", "--json")[1])["machines"]
        assert (machine["memory_budget"], machine["memory_used"]) == (20 << 20, 16 << 20)
        table = splitvisor("ps")[1]
        assert "resident" in table
        assert "exits by reason" in table


def test_a_machine_that_does_not_fit_its_budget_does_not_start(splitvisor, lab):
    file = lab('[machine]\nmemory_budget = "12M"\n', a="", b="")
    status, output, errors = splitvisor("up", file)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert "guest b wants 8 MiB, 8 of 12 MiB are taken" in errors


def test_reservations_that_do_not_fit_do_not_start(splitvisor, lab):
    table = 'schedule = { budget = "6ms", period = "10ms" }'
    status, output, errors = splitvisor("up", lab(f'{ONE}policy = "deadline"\n', a=table, b=table))
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert "vCPU b/0: the reservation takes 62.0 % of a pCPU" in errors


def test_what_cannot_be_is_one_line_and_changes_nothing(splitvisor, lab, guest):
    with running(splitvisor, lab(TWO, web=f'image = "{guest("echo")}"')):
        before = state(splitvisor)["guests"][0]["vcpus"][0]["schedule"]
        for arguments, words in (
            (("sched", "set", "lab/wbe", "--cap", "5"), "no guest 'wbe', did you mean 'web'"),
            (
                ("sched", "set", "lap/web", "--cap", "5"),
                "no machine 'lap' runs, did you mean 'lab'",
            ),
            (("sched", "set", "lab/web/1", "--cap", "5"), "guest web has vCPUs 0 to 0"),
            (("sched", "set", "/web", "--cap", "101"), "range 0<=x<=100"),
            (
                ("sched", "set", "/web", "--budget", "20ms", "--period", "10ms"),
                "budget 20000000 ns: give 100000 ns (100 us) to the period, 10000000 ns",
            ),
            (("sched", "set", "/web", "--affinity", "2"), "there is no pCPU 2: give 0 to 1"),
            (("sched", "policy", "dedline"), "no scheduling policy 'dedline' is installed"),
            (("balloon", "lab/web", "4M"), "guest web has no balloon"),
            (("events", "lap"), "no machine 'lap' runs"),
        ):
            status, output, errors = splitvisor(*arguments)
            assert (status, output, errors.count("\n")) == (2, "", 1), errors
            assert words in errors
        found = state(splitvisor)
        assert found["policy"] == "credit"
        assert found["guests"][0]["vcpus"][0]["schedule"] == before


def test_events_are_followed_until_the_machine_ends(splitvisor, lab, guest):
    with running(splitvisor, lab(TWO, web=f'image = "{guest("echo")}"')):
        with events(splitvisor, "--accounting", "100ms") as (process, told):
            first = next(told)
            assert (first["kind"], first["guest"]) == ("accounting", "web")
            (vcpu,) = first["vcpus"]
            assert vcpu["state"] == "halted"  # it waits for its console
            assert sum(vcpu["exits_by_reason"].values()) == vcpu["exits"]
            for arguments in (("set", "/web", "--cap", "5"), ("policy", "round_robin")):
                said(splitvisor, *arguments)
            changes = [event for event in two(told) if event["kind"] != "accounting"]
            assert [event["kind"] for event in changes] == ["schedule_changed", "policy_changed"]
            assert changes[0]["vcpus"][0]["schedule"]["cap"] == 5
            assert splitvisor("stop", "lab/web") == (0, "", "")
            ended = next(event for event in told if event["kind"] == "guest_ended")
            assert ended["vcpus"][0]["state"] == "ended"
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        command = splitvisor.command("events", "--accounting", "10ms")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with (
            subprocess.Popen(command, **pipes) as unread,
            subprocess.Popen(command, **pipes) as read,
        ):
            assert unread.stdout.readline().partition(b" ")[2].startswith(b"web/0: ended, run ")
            unread.stdout.close()  # as `head -1` does
            assert unread.stderr.read() == b""
            assert read.stdout.readline()
            assert splitvisor("stop") == (0, "", "")
            assert read.stdout.read().endswith(b"\n")
            assert (read.wait(), read.stderr.read()) == (0, b"")


def two(told):
    """Up to the second event that is no account."""
    found = 0
    for event in told:
        yield event
        found += event["kind"] != "accounting"
        if found == 2:
            return


@pytest.mark.kvm
@needs_kvm
def test_with_the_kernels_irqchip_who_halts_gives_way_and_all_go_on(splitvisor, lab, guest):
    kernel = 'cpu = "kvm"\nirqchip = "kernel"\n'
    idle = f'{kernel}image = "{guest("echo")}"'
    waker = f'{kernel}image = "{guest("waker")}"\narguments = "ops=200 work=20"\n'
    waker += 'disks = ["memory:size=1M"]'
    tables = {"a": kernel, "b": 'cpu = "kvm"', "idle": idle, "waker": waker}
    with running(splitvisor, lab(ONE, **tables)) as process:
        with accounts(splitvisor) as told:
            ran = gains(told, ["a", "b", "idle", "waker"], S)
        assert min(ran["a"], ran["b"]) > S // 5
        assert ran["idle"] < S // 10
        process.until("guest waker: ended, exit status 0")
        halted = state(splitvisor)["guests"][2]["vcpus"][0]
        assert halted["halted_ns"] > halted["run_ns"]
