"""What the verbs of `sched` ask of a machine, what they print, and what they refuse."""

import json

import grpc
import pytest

from protos import core_pb2 as core
from protos import operator_pb2 as operator

MS = 1_000_000


@pytest.fixture
def web(lab):
    lab.guest = core.GuestStatus(name="web")
    for index, cap in enumerate((0, 50)):
        schedule = core.Schedule(weight=256, cap=cap)
        lab.guest.vcpus.append(core.VcpuStatus(index=index, schedule=schedule))
    return lab


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (("/web", "--weight", "512"), {"guest": "web", "weight": 512}),
        (("lab/web", "--cap", "0"), {"guest": "web", "cap": 0}),
        (("lab/web/1", "--cap", "100"), {"guest": "web", "vcpu": 1, "cap": 100}),
        (("/web/0", "--budget", "0"), {"guest": "web", "vcpu": 0, "budget_ns": 0}),
        (("/web", "--budget", "0ms", "--period", "0"), {"budget_ns": 0, "period_ns": 0}),
        (
            ("/web", "--budget", "1.5ms", "--period", "10s"),
            {"budget_ns": 1_500_000, "period_ns": 10_000 * MS},
        ),
        (("/web", "--affinity", "1,0"), {"affinity": operator.Affinity(pcpus=[1, 0])}),
        (("/web", "--affinity", "all"), {"affinity": operator.Affinity()}),
    ],
)
def test_set_asks_for_what_is_named_and_for_nothing_else(splitvisor, web, arguments, request_):
    status, _, errors = splitvisor("sched", "set", *arguments)
    assert (status, errors) == (0, "")
    assert web.asked == [operator.SetScheduleRequest(**{"guest": "web", **request_})]


def test_set_tells_what_holds_now_of_those_that_were_named(splitvisor, web):
    first = "web/0: weight 256, no cap, on all pCPUs\n"
    second = "web/1: weight 256, cap 50 %, on all pCPUs\n"
    assert splitvisor("sched", "set", "/web", "--weight", "256") == (0, first + second, "")
    assert splitvisor("sched", "set", "/web/1", "--weight", "256") == (0, second, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set",), "Missing argument '[MACHINE]/GUEST[/VCPU]'"),
        (("set", "/web"), "nothing to set: name a weight, cap, budget, period or affinity"),
        (("set", "web", "--cap", "5"), "'web' names no guest: write MACHINE/GUEST, or /GUEST"),
        (("set", "lab/", "--cap", "5"), "'lab/' names no guest"),
        (("set", "lab/web/0/1", "--cap", "5"), "'lab/web/0/1' names no guest"),
        (("set", "/web/", "--cap", "5"), "'' is no number of a vCPU: give 0 to 63"),
        (("set", "/web/one", "--cap", "5"), "'one' is no number of a vCPU: give 0 to 63"),
        (("set", "/web/255", "--cap", "5"), "'255' is no number of a vCPU"),
        (("set", "/web/-1", "--cap", "5"), "'-1' is no number of a vCPU"),
        (("set", f"/web/{'9' * 5000}", "--cap", "5"), "is no number of a vCPU"),
        (("set", "/web/\u0663", "--cap", "5"), "is no number of a vCPU"),
        (("set", "/web", "--weight", "0"), "0 is not in the range 1<=x<=65535"),
        (("set", "/web", "--weight", "65536"), "65536 is not in the range"),
        (("set", "/web", "--weight", "much"), "'much' is not a valid whole number"),
        (("set", "/web", "--cap", "101"), "101 is not in the range 0<=x<=100"),
        (("set", "/web", "--cap", "-1"), "-1 is not in the range 0<=x<=100"),
        (("set", "/web", "--budget", "2"), "'2' is not a duration: write it like 10ms"),
        (("set", "/web", "--budget", ""), "'' is not a duration"),
        (("set", "/web", "--budget", "999999999999s"), "999999999999s: give at most 10s"),
        (("set", "/web", "--period", "11s"), "11s: give at most 10s"),
        (("set", "/web", "--affinity", ""), "'' is no number of a pCPU: give 0 to 1023"),
        (("set", "/web", "--affinity", "0,,1"), "'' is no number of a pCPU"),
        (("set", "/web", "--affinity", "0,all"), "'all' is no number of a pCPU"),
        (("set", "/web", "--affinity", "1024"), "'1024' is no number of a pCPU"),
        (("set", "/web", "--wieght", "5"), "No such option '--wieght'. Did you mean '--weight'?"),
        (("policy",), "name a policy, a --slice, or both"),
        (("policy", "credit", "--slice", ""), "'' is not a duration"),
        (("policy", "credit", "--slice", "0ms"), "slice 0s: give 500us to 10s"),
        (("policy", "credit", "--slice", "499us"), "slice 499us: give 500us to 10s"),
        (("policy", "--slice", "99999999999999s"), "slice 99999999999999s: give 500us to 10s"),
        (("policy", "lab", "credit", "now"), "Got unexpected extra argument (now)"),
        (("policy", "credit"), "no machine runs under"),
        (("set", "/web", "--cap", "5"), "no machine runs under"),
        (("status", "lab"), "no machine runs under"),
        (("stauts",), "No such command 'stauts'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_is_asked(splitvisor, arguments, words):
    status, output, errors = splitvisor("sched", *arguments)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("splitvisor: ")
    assert words in line


@pytest.mark.parametrize(
    ("arguments", "policy", "slice_ns"),
    [
        (("deadline",), "deadline", 0),
        (("lab", "deadline"), "deadline", 0),
        (("lab", "credit", "--slice", "500us"), "credit", MS // 2),
        (("--slice", "5ms"), "", 5 * MS),
        (("lab", "--slice", "5ms"), "", 5 * MS),
        (("credit", "--slice", "5ms"), "credit", 5 * MS),
    ],
)
def test_policy_leaves_what_is_not_named_to_the_machine(
    splitvisor, lab, arguments, policy, slice_ns
):
    lab.scheduler = core.SchedulerStatus(policy="deadline", slice_ns=5 * MS)
    said = "policy deadline, slice 5ms\n"
    assert splitvisor("sched", "policy", *arguments) == (0, said, "")
    assert lab.asked == [core.PolicyConfig(policy=policy, slice_ns=slice_ns)]


@pytest.mark.parametrize(
    "arguments", [("policy", "dedline"), ("set", "/web", "--cap", "5")], ids=" ".join
)
def test_what_the_machine_refuses_is_its_line_and_status_2(splitvisor, lab, arguments):
    lab.refusal = (grpc.StatusCode.NOT_FOUND, "there is none")
    assert splitvisor("sched", *arguments) == (2, "", "splitvisor: there is none\n")


@pytest.fixture
def busy(web):
    web.status = operator.MachineStatus(name="lab", guests=[web.guest])
    web.status.scheduler.policy, web.status.scheduler.slice_ns = "credit", 5 * MS
    web.status.scheduler.pcpus.add(host_cpu=1, running="web/0", busy_ns=3_000 * MS)
    return web


def test_status_shows_policy_pcpus_and_vcpus(splitvisor, busy):
    status, output, errors = splitvisor("sched", "status", "lab")
    assert (status, errors) == (0, "")
    assert "machine lab: policy credit" in output
    assert "3.00 s" in output
    assert "50 %" in output


def test_status_as_json_has_every_field(splitvisor, busy):
    status, output, _ = splitvisor("sched", "status", "--json")
    assert status == 0
    (one,) = json.loads(output)["schedulers"]
    assert (one["machine"], one["policy"], one["slice_ns"]) == ("lab", "credit", 5 * MS)
    assert one["pcpus"][0]["running"] == "web/0"
    (guest,) = one["guests"]
    assert guest["name"] == "web"
    assert [vcpu["schedule"]["cap"] for vcpu in guest["vcpus"]] == [0, 50]


def test_status_where_nothing_runs(splitvisor):
    assert splitvisor("sched", "status") == (0, "no machine runs\n", "")
    status, output, _ = splitvisor("sched", "status", "--json")
    assert (status, json.loads(output)) == (0, {"schedulers": []})
