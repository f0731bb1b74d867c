"""What the verbs of `service` ask of a machine, and what they print."""

import json
import threading

import grpc
import pytest

from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.cli import client

MS = 1_000_000


@pytest.fixture
def recovered(lab):
    """Service OSes after a kill, an upgrade, and three deaths of a poisoned one."""
    outage = operator.Outage(
        cause="died by signal 9 (SIGKILL)",
        killed=10 * MS,
        detected=13 * MS,
        fenced=14 * MS,
        promoted=15 * MS,
        attached=17 * MS,
        replayed=21 * MS,
        first_completion=18 * MS,
        requests=32,
        warm=True,
    )
    lab.status.services.add(
        name="service",
        state=operator.SERVICE_SERVING,
        pid=102,
        epoch=2,
        deaths=1,
        last_death="signal 9 (SIGKILL)",
        last_outage_ms=4.0,
        worst_outage_ms=250.4,
        recoveries=1,
        standby=operator.Standby(state=operator.STANDBY_READY, pid=103, epoch=3),
        last_outage=outage,
    )
    lab.status.services.add(
        name="storage",
        state=operator.SERVICE_RECOVERING,
        deaths=3,
        last_death="exit status 1",
        last_outage=operator.Outage(cause="planned", detected=MS, attached=3 * MS, planned=True),
        quarantined=[operator.Quarantined(device="web/disk0", reason="killed 3 in a row")],
        unserved=[operator.Unserved(device="web/disk1", reason="no such file", for_s=2.25)],
        longest_absence=operator.Absence(device="web/disk0", for_s=61.52),
    )
    nobody = operator.Standby(state=operator.STANDBY_STARTING, problem="cannot open its devices")
    lab.status.services.add(name="net", last_death="exit status 2", standby=nobody)
    return lab


def test_status_shows_who_stands_by_and_the_last_outage_in_steps(splitvisor, recovered):
    status, output, errors = splitvisor("service", "status")
    assert (status, errors) == (0, "")
    assert output.splitlines()[-7:] == [
        "lab/service: last outage: died by signal 9 (SIGKILL): outage of 11.0 ms (detect 3.0 ms, "
        "fence 1.0 ms, promote 1.0 ms, attach 2.0 ms, replay 4.0 ms, first completion after "
        "8.0 ms), 32 requests replayed, by a standby",
        "lab/storage: last outage: upgrade: pause of 2.0 ms (attach 2.0 ms), 0 requests replayed, "
        "by a fresh start",
        "lab/storage: web/disk1 is not served, for 2.2 s: no such file; it is tried again",
        "lab/storage: longest absence of a device: web/disk0, 61.5 s",
        "lab/storage: web/disk0 is in quarantine: killed 3 in a row; 'splitvisor service release "
        "lab/web/disk0' gives it back",
        "lab/net: last death: exit status 2",
        "lab/net: nobody stands by: cannot open its devices; another is tried",
    ]
    serving, recovering, _ = (line.split() for line in output.splitlines()[3:6])
    assert serving[:2] + serving[2:5] == ["lab", "service", "serving", "102", "2"]
    assert serving[7:] == ["ready", "1", "1", "0", "4.0", "ms", "250.4", "ms"]
    assert recovering[2] == "recovering"
    assert recovering[-2:] == ["-", "-"]


def test_status_as_json_has_every_field(splitvisor, recovered):
    status, output, _ = splitvisor("service", "status", "lab", "--json")
    assert status == 0
    service, storage, _ = json.loads(output)["services"]
    assert (service["machine"], service["state"]) == ("lab", "serving")
    assert service["standby"] == {"state": "ready", "pid": 103, "epoch": 3, "problem": ""}
    assert service["last_outage"]["fenced"] == 14 * MS
    unserved = {"device": "web/disk1", "reason": "no such file", "for_s": 2.25}
    assert storage["unserved"] == [unserved]
    assert storage["longest_absence"] == {"device": "web/disk0", "for_s": 61.52}
    assert storage["quarantined"] == [{"device": "web/disk0", "reason": "killed 3 in a row"}]


def test_kill_names_who_was_killed(splitvisor, lab):
    assert splitvisor("service", "kill", "lab/io") == (0, "killed pid 7 (epoch 1)\n", "")
    assert lab.asked == [operator.KillServiceRequest(name="io")]


def test_a_standby_is_killed_by_a_fault(splitvisor, lab):
    said = "killed pid 7 (epoch 1), which stood by\n"
    assert splitvisor("service", "kill", "--standby") == (0, said, "")
    fault = faults.Fault(action=faults.KILL)
    assert lab.asked == [operator.FaultRequest(standby=True, fault=fault)]


def test_upgrade_tells_who_serves_and_the_pause(splitvisor, lab):
    said = "pid 9 (epoch 3) serves, pause 12.3 ms\n"
    assert splitvisor("service", "upgrade", "lab/io") == (0, said, "")
    status, output, _ = splitvisor("service", "upgrade", "--json")
    assert (status, json.loads(output)) == (0, {"pid": 9, "epoch": 3, "pause_ms": 12.34})
    assert [request.name for request in lab.asked] == ["io", ""]


def test_an_upgrade_that_takes_long_says_what_it_waits_for(splitvisor, lab, monkeypatch):
    monkeypatch.setattr(client, "SILENCE", 0.01)
    told = threading.Event()

    def note(line):
        assert line == "machine lab: the new service OS starts, or the old one finishes its work"
        told.set()
        lab.upgraded.set()

    monkeypatch.setattr(client, "note", note)
    lab.upgraded.clear()
    assert splitvisor("service", "upgrade")[0] == 0
    assert told.is_set()


def test_release_gives_a_device_back(splitvisor, lab):
    said = "web/disk0 is given back to its service OS\n"
    assert splitvisor("service", "release", "web/disk0") == (0, said, "")
    assert splitvisor("service", "release", "lab/web/disk0") == (0, said, "")
    assert lab.asked == [operator.ReleaseDeviceRequest(device="web/disk0")] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("upgrade", "lab/"), "'lab/' has no name behind the slash"),
        (("upgrade", "lab", "io"), "Got unexpected extra argument (io)"),
        (("upgrade",), "no machine runs under"),
        (("release",), "Missing argument '[MACHINE/]GUEST/DEVICE'"),
        (("release", "disk0"), "'disk0' names no device: write GUEST/DEVICE, or MACHINE"),
        (("release", "lab/web/"), "'lab/web/' names no device"),
        (("release", "lab/web/disk0/0"), "'lab/web/disk0/0' names no device"),
        (("release", "web/disk0"), "no machine runs under"),
        (("kill", "--standy"), "'--standy'. Did you mean '--standby'?"),
        (("updrade",), "No such command 'updrade'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_before_anything_is_asked(splitvisor, arguments, words):
    status, output, errors = splitvisor("service", *arguments)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert words in line


@pytest.mark.parametrize(
    "arguments", [("upgrade",), ("release", "/web/disk0"), ("kill",)], ids=" ".join
)
def test_what_the_machine_refuses_is_its_line_and_status_2(splitvisor, lab, arguments):
    lab.refusal = (grpc.StatusCode.NOT_FOUND, "there is none")
    assert splitvisor("service", *arguments) == (2, "", "splitvisor: there is none\n")
