"""What `events` asks of a machine, and its events as lines and as objects."""

import json
import time

import grpc
import pytest

from protos import core_pb2 as core
from protos import operator_pb2 as operator

MS = 1_000_000
NOON = 1_700_000_000_000_000_000  # by the clock, when CLOCK_MONOTONIC is 0


def from_core(kind, at, **fields):
    event = core.Event(kind=kind, monotonic_ns=at * MS, **fields)
    return operator.MachineEvent(core=event)


def of_service(kind, at, **fields):
    event = operator.ServiceEvent(kind=kind, monotonic_ns=at * MS, service="io", **fields)
    return operator.MachineEvent(service=event)


STORY = [
    from_core(core.EVENT_GUEST_CREATED, 1000, guest="web"),
    from_core(core.EVENT_GUEST_STARTED, 1001, guest="web"),
    from_core(
        core.EVENT_ACCOUNTING,
        2000,
        guest="web",
        vcpus=[
            core.VcpuStatus(state="running", run_ns=1_500_000_000, switches=3),
            core.VcpuStatus(index=1, state="halted", exits_by_reason={"port": 7}),
        ],
    ),
    from_core(core.EVENT_POLICY_CHANGED, 61002, text="deadline"),
]
WEB = {"guest": "web", "device": "disk0", "service": "io", "epoch": 2}
OUTAGE = operator.Outage(
    cause="died", killed=10 * MS, detected=13 * MS, fenced=14 * MS, replayed=20 * MS, requests=9
)
RECOVERY = [
    of_service(operator.SERVICE_STARTED, 5, pid=8, epoch=1),
    of_service(operator.SERVICE_DETECTED, 13, pid=8, epoch=1, text="died"),
    of_service(operator.SERVICE_FENCED, 14, pid=8, epoch=1, text="signal 9 (SIGKILL)"),
    from_core(core.EVENT_DEVICE_LOST, 12, **WEB),
    from_core(core.EVENT_GUEST_PAUSED, 16, guest="web"),
    from_core(core.EVENT_DEVICE_RESUMED, 18, **WEB),
    of_service(operator.SERVICE_RECOVERED, 20, pid=9, epoch=2, outage=OUTAGE),
    of_service(operator.SERVICE_STARTED, 90, pid=10, epoch=3),
]


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still, in Greenwich."""
    monkeypatch.setattr(time, "time_ns", lambda: NOON)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    monkeypatch.setattr(time, "localtime", time.gmtime)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("follow", [(), ("--follow",), ("-f",)])
def test_a_line_for_what_is_worth_one_and_for_each_account(splitvisor, lab, follow):
    lab.events = STORY
    status, output, errors = splitvisor("events", "lab", *follow)
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "22:13:21.001 guest web: started",
        "22:13:22.000 web/0: running, run 1.50 s, steal 0.00 s, halted 0.00 s, 3 switches, ",
        "22:13:22.000 web/1: halted, run 0.00 s, steal 0.00 s, halted 0.00 s, 0 switches, port 7",
        "22:14:21.002 scheduling policy: deadline",
    ]
    assert lab.asked == [core.WatchRequest()]


@pytest.mark.usefixtures("clock")
def test_in_an_outage_each_line_of_its_service_os_tells_how_long_it_has_lasted(splitvisor, lab):
    lab.events = RECOVERY
    status, output, _ = splitvisor("events", "lab")
    assert status == 0
    assert output.splitlines() == [
        "22:13:20.005 service OS io: pid 8 (epoch 1) is ready",
        "22:13:20.013 service OS io: pid 8 (epoch 1) serves no more: died",
        "22:13:20.014 +1.0 ms service OS io: pid 8 (epoch 1) died by signal 9 (SIGKILL), reaped",
        "22:13:20.012 guest web, device disk0: lost io, epoch 2",
        "22:13:20.016 guest web: paused",
        "22:13:20.018 +5.0 ms guest web, device disk0: first completion by io, epoch 2",
        "22:13:20.020 +7.0 ms service OS io: pid 9 (epoch 2) has done what was in flight, 9 "
        "requests: outage of 10.0 ms (detect 3.0 ms, fence 1.0 ms, replay 6.0 ms)",
        "22:13:20.090 service OS io: pid 10 (epoch 3) is ready",
    ]


def test_as_json_every_event_is_an_object_on_its_line(splitvisor, lab):
    lab.events = [*STORY, *RECOVERY]
    status, output, _ = splitvisor("events", "--json", "--accounting", "1.5s")
    told = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [(event["from"], event["kind"]) for event in told[2:6]] == [
        *(("core", "accounting"), ("core", "policy_changed")),
        *(("supervisor", "started"), ("supervisor", "detected")),
    ]
    assert told[2]["vcpus"][0]["run_ns"] == 1_500_000_000
    assert told[2]["vcpus"][1]["exits_by_reason"] == {"port": 7}
    assert told[10]["outage"]["replayed"] == 20 * MS
    assert told[5]["outage"] is None
    assert lab.asked == [core.WatchRequest(accounting_ms=1500)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--accounting", "1"), "'1' is not a duration: write it like 10ms"),
        (("--accounting", ""), "'' is not a duration"),
        (("--accounting", "9ms"), "--accounting 9ms: give 10ms to 3600s"),
        (("--accounting", "9999999s"), "--accounting 9999999s: give 10ms to 3600s"),
        (("lab", "web"), "Got unexpected extra argument (web)"),
        (("lab",), "no machine runs under"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_is_asked(splitvisor, arguments, words):
    status, output, errors = splitvisor("events", *arguments)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert words in line


def test_what_the_machine_refuses_is_its_line_and_status_2(splitvisor, lab):
    lab.refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "4 follow already: end one")
    assert splitvisor("events") == (2, "", "splitvisor: 4 follow already: end one\n")
