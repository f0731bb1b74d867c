"""What `events` asks of a machine, and its events as lines and as objects."""

import json

import grpc
import pytest

from protos import core_pb2 as core

STORY = [
    core.Event(kind=core.EVENT_GUEST_CREATED, guest="web"),
    core.Event(kind=core.EVENT_GUEST_STARTED, guest="web"),
    core.Event(
        kind=core.EVENT_ACCOUNTING,
        guest="web",
        vcpus=[
            core.VcpuStatus(state="running", run_ns=1_500_000_000, switches=3),
            core.VcpuStatus(index=1, state="halted", exits_by_reason={"port": 7}),
        ],
    ),
    core.Event(kind=core.EVENT_POLICY_CHANGED, text="deadline"),
]


def test_a_line_for_what_is_worth_one_and_for_each_account(splitvisor, lab):
    lab.events = STORY
    status, output, errors = splitvisor("events", "lab")
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "guest web: started",
        "web/0: running, run 1.50 s, steal 0.00 s, halted 0.00 s, 3 switches, ",
        "web/1: halted, run 0.00 s, steal 0.00 s, halted 0.00 s, 0 switches, port 7",
        "scheduling policy: deadline",
    ]
    assert lab.asked == [core.WatchRequest()]


def test_as_json_every_event_is_an_object_on_its_line(splitvisor, lab):
    lab.events = STORY
    status, output, _ = splitvisor("events", "--json", "--accounting", "1.5s")
    told = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [event["kind"] for event in told] == [
        *("guest_created", "guest_started", "accounting", "policy_changed"),
    ]
    assert told[2]["vcpus"][0]["run_ns"] == 1_500_000_000
    assert told[2]["vcpus"][1]["exits_by_reason"] == {"port": 7}
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
