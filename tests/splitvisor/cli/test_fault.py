"""What the verbs of `fault` ask of a machine, and what they print."""

import json

import grpc
import pytest

from protos import core_pb2 as core
from protos import faults_pb2 as f
from protos import operator_pb2 as operator


@pytest.fixture
def web(lab):
    """A machine with a disk that `storage` serves; only that has failpoints."""
    lab.status.services.add(name="service")
    lab.status.services.add(name="storage", failpoints=True)
    disk = core.DeviceStatus(name="disk0", model="block", service="storage")
    balloon = core.DeviceStatus(name="balloon0")
    console = core.DeviceStatus(name="hvc0", model="console", service="storage")
    lab.status.guests.add(name="web", devices=[disk, console, balloon])
    return lab


def once(action, point=f.ANYWHERE, **fields):
    return f.Fault(action=action, point=point, **{"times": 1, **fields})


DISK = {"guest": "web", "device": "disk0"}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("kill",), once(f.KILL)),
        (("stop",), once(f.STOP)),
        (("spin",), once(f.SPIN)),
        (("exit",), once(f.EXIT)),
        (("leak",), once(f.LEAK, bytes=64 << 20)),
        (("leak", "--bytes", "1K", "--at", "opened"), once(f.LEAK, f.OPENED, bytes=1024)),
        (("hang",), once(f.HANG, f.BEFORE_EXECUTE)),
        (("raise", "--times", "3"), once(f.RAISE, f.BEFORE_EXECUTE, times=3)),
        (("slow",), once(f.SLOW, f.BEFORE_EXECUTE, delay_us=20_000, times=0)),
        (("slow", "--by", "1.5ms"), once(f.SLOW, f.BEFORE_EXECUTE, delay_us=1500, times=0)),
        (("drop", "--nth", "50"), once(f.DROP, f.BEFORE_REPLY, nth=50)),
        (("garble",), once(f.GARBLE, f.BEFORE_REPLY)),
        (("garble", "--how", "twice"), once(f.GARBLE, f.BEFORE_REPLY, garble=f.TWICE)),
        (("garble", "--seed", "7"), once(f.GARBLE, f.BEFORE_REPLY, seed=7)),
        (("kill", "--at", "mid-batch"), once(f.KILL, f.MID_BATCH)),
        (("kill", "--nth", "9"), once(f.KILL, f.BEFORE_EXECUTE, nth=9)),
        (("kill", "--sector", "0"), once(f.KILL, f.BEFORE_EXECUTE, only_sector=True)),
        (("stop", "--device", "web/disk0"), once(f.STOP, f.BEFORE_EXECUTE, **DISK)),
        (
            ("kill", "--at", "after-execute", "--sector", "8", "--every-incarnation"),
            once(f.KILL, f.AFTER_EXECUTE, sector=8, only_sector=True, every_incarnation=True),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_words_become_a_fault(splitvisor, web, arguments, fault):
    status, _, errors = splitvisor("fault", *arguments)
    assert (status, errors) == (0, "")
    (asked,) = web.asked
    assert asked.fault == fault


def test_who_is_meant(splitvisor, web):
    for arguments in (("lab/net",), ("lab", "--standby"), ("--device", "web/disk0")):
        assert splitvisor("fault", "stop", *arguments)[0] == 0
    assert [(r.service, r.standby) for r in web.asked] == [
        *(("net", False), ("", True), ("", False)),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kill",), "SIGKILL to pid 7 (epoch 1)"),
        (("stop",), "SIGSTOP to pid 7 (epoch 1)"),
        (("spin",), "fault 4 in pid 7 (epoch 1): spin at once"),
        (
            ("kill", "--at", "mid-batch", "--nth", "9", "--device", "web/disk0"),
            "fault 4 in pid 7 (epoch 1): kill at mid-batch of web/disk0, from time 9 on, once",
        ),
        (
            ("slow", "--every-incarnation", "--sector", "8"),
            "fault 4 in pid 7 (epoch 1): slow by 20ms at before-execute where sector 8 is "
            "touched, for ever, in every incarnation",
        ),
        (
            ("leak", "--at", "closing", "--times", "2"),
            "fault 4 in pid 7 (epoch 1): leak 64.0 MiB at closing, 2 times",
        ),
        (("garble",), "fault 4 in pid 7 (epoch 1): garble (some, seed 0) at before-reply, once"),
        (
            ("garble", "--how", "length"),
            "fault 4 in pid 7 (epoch 1): garble (length) at before-reply, once",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_was_done_is_said_in_a_line(splitvisor, web, arguments, said):
    assert splitvisor("fault", *arguments) == (0, f"{said}\n", "")


def test_what_was_done_as_json(splitvisor, web):
    status, output, _ = splitvisor("fault", "garble", "--at", "after-reply", "--json")
    told = json.loads(output)
    assert status == 0
    assert (told["machine"], told["pid"], told["epoch"], told["id"]) == ("lab", 7, 1, 4)
    fault = told["fault"]
    assert (fault["action"], fault["point"], fault["garble"]) == ("garble", "after_reply", "some")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kil",), "No such command 'kil'"),
        (("kill", "--at", "mid-bach"), "'mid-bach' is not one of 'opening', 'opened'"),
        (("kill", "--by", "1ms"), "No such option '--by'"),
        (("kill", "--nth", "0"), "0 is not in the range"),
        (("kill", "--times", "-1"), "-1 is not in the range"),
        (("kill", "--device", "disk0"), "--device 'disk0': write GUEST/DEVICE, as in web/disk0"),
        (("kill", "--device", "lab/web/disk0"), "--device 'lab/web/disk0': write GUEST/DEVICE"),
        (("kill", "--every-incarnation"), "a signal is sent once: name a point for --every-inc"),
        (("kill", "--times", "0"), "a signal is sent once: name a point for --times 0 with --at"),
        (("slow", "--by", "20"), "'20' is not a duration"),
        (("slow", "--by", "999ns"), "--by 999ns: give 1us to 3600s"),
        (("slow", "--by", "3601s"), "--by 3601s: give 1us to 3600s"),
        (("leak", "--bytes", "0"), "--bytes 0: give 1 to 1T"),
        (("leak", "--bytes", "2T"), "--bytes 2T: give 1 to 1T"),
        (("garble", "--how", "so"), "'so' is not one of 'some', 'epoch'"),
        (("drop", "lab/"), "'lab/' has no name behind the slash"),
        (("ls", "lab/"), "'lab/' has no name behind the slash"),
        (("drop",), "no machine runs under"),
        (("clear",), "no machine runs under"),
        (("ls", "lab"), "no machine runs under"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_is_asked(splitvisor, arguments, words):
    status, output, errors = splitvisor("fault", *arguments)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert words in line


def test_what_the_machine_refuses_is_its_line_and_status_2(splitvisor, web):
    web.refusal = (grpc.StatusCode.FAILED_PRECONDITION, "no failpoints: start it with them")
    refused = (2, "", "splitvisor: no failpoints: start it with them\n")
    assert splitvisor("fault", "hang") == refused


def test_a_sector_of_what_is_no_disk_is_refused_before_anything_is_asked(splitvisor, web):
    status, output, errors = splitvisor("fault", "kill", "--device", "web/hvc0", "--sector", "8")
    assert (status, output, web.asked) == (2, "", [])
    assert errors.startswith("splitvisor: --sector 8: hvc0 is no disk (model console)")
    assert splitvisor("fault", "kill", "--device", "web/disk0", "--sector", "8")[0] == 0


def test_help_says_what_may_come_to_nothing(splitvisor):
    told = {
        verb: " ".join(splitvisor("fault", *verb, "--help")[1].split())
        for verb in ((), ("garble",))
    }
    assert (
        "A fault that meets nothing, a sector beyond the disk's end for example, waits" in told[()]
    )
    assert "Of 'twice', which 'some' may come to as well, it drops the second" in told["garble",]


def test_faults_of_all_that_have_failpoints_are_listed(splitvisor, web):
    fault = once(f.HANG, f.AFTER_RECEIVE)
    web.armed = {"storage": [f.Armed(id=3, fault=fault, passed=12345, acted=1)]}
    status, output, errors = splitvisor("fault", "ls")
    assert (status, errors) == (0, "")
    row = output.splitlines()[-1].split()
    assert row[:3] == ["lab", "storage", "3"]
    assert " ".join(row[3:]) == "hang at after-receive, once 12,345 1"
    assert web.asked == [operator.ListFaultsRequest(service="storage")]
    status, output, _ = splitvisor("fault", "ls", "lab/storage", "--json")
    (one,) = json.loads(output)["faults"]
    assert (one["machine"], one["service"], one["passed"]) == ("lab", "storage", 12345)
    assert one["fault"]["point"] == "after_receive"


def test_where_there_are_no_faults(splitvisor, web):
    assert splitvisor("fault", "ls") == (0, "no faults\n", "")
    assert splitvisor("fault", "ls", "lab/service") == (0, "no faults\n", "")


def test_faults_are_taken_back(splitvisor, web):
    web.armed = {"storage": [f.Armed(id=1), f.Armed(id=2)]}
    assert splitvisor("fault", "clear") == (0, "faults taken back: 2\n", "")
    assert splitvisor("fault", "clear", "/storage", "--json") == (0, '{"cleared": 0}\n', "")
    assert web.asked == [operator.ClearFaultsRequest(service="storage")] * 2
