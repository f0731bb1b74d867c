"""Each event has its line, or none."""

from dataclasses import replace

import pytest

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli.narrate import describe, is_stall, matters, service_line
from splitvisor.supervisor import events
from splitvisor.supervisor.outage import Outage

MS = 1_000_000
OUTAGE = Outage(
    cause="died by signal 9 (SIGKILL)",
    killed=1 * MS,
    detected=5 * MS,
    fenced=6 * MS,
    promoted=8 * MS,
    attached=11 * MS,
    replayed=21 * MS,
    first_completion=12 * MS,
    requests=32,
    warm=True,
)
STEPS = (
    "20.0 ms (detect 4.0 ms, fence 1.0 ms, promote 2.0 ms, attach 3.0 ms, replay 10.0 ms, first "
    "completion after 11.0 ms)"
)
BROKEN = ("web/disk0: gone",)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            events.CoreStarted(
                7,
                core.CoreDescription(
                    pcpus=2, auto_cpu=core.CPU_EMULATED, kvm_problem="no /dev/kvm"
                ),
            ),
            "core: pid 7, 2 pCPUs, auto takes the emulated CPU (no KVM: no /dev/kvm)",
        ),
        (events.ServiceStarted("io", 8, 1), "service OS io: pid 8 (epoch 1) is ready"),
        (
            events.ServiceStandsBy("io", 9, 2, 3, BROKEN),
            "service OS io: pid 9 (epoch 2) stands by with 3 devices opened; not opened: "
            "web/disk0: gone",
        ),
        (
            events.ServiceStandbyLost("io", 9, 2, "died by signal 9 (SIGKILL)"),
            "service OS io: pid 9 (epoch 2) stands by no more: died by signal 9 (SIGKILL)",
        ),
        (
            events.ServiceSuspected("io", 8, 1, "web/disk0: nothing completed for 104 ms"),
            "service OS io: pid 8 (epoch 1) is as good as dead and will be killed: web/disk0: "
            "nothing completed for 104 ms",
        ),
        (
            events.ServiceDetected("io", 8, 1, "died"),
            "service OS io: pid 8 (epoch 1) serves no more: died",
        ),
        (
            events.ServiceDied("io", 8, 1, "signal 9 (SIGKILL)", 0),
            "service OS io: pid 8 (epoch 1) died by signal 9 (SIGKILL), reaped",
        ),
        (
            events.ServiceDied("io", 8, 1, "exit status 1", 0.4),
            "service OS io: pid 8 (epoch 1) died by exit status 1, reaped; the next one "
            "serves in 0.4 s, for too many died",
        ),
        (
            events.ServicePromoted("io", 9, 2, warm=True),
            "service OS io: pid 9 (epoch 2) serves from now on",
        ),
        (
            events.ServiceAttached("io", 9, 2, 3, ()),
            "service OS io: pid 9 (epoch 2) has 3 devices attached",
        ),
        (events.ServiceAttached("io", 8, 1, 0, ()), ""),
        (
            events.ServiceFailed("io", 2, "could not start (exit status 2): x"),
            "service OS io: epoch 2 could not start (exit status 2): x",
        ),
        (
            events.ServiceRecovered("io", 9, 2, 3, BROKEN, OUTAGE),
            "service OS io: pid 9 (epoch 2) has done what was in flight, 32 requests: outage of "
            f"{STEPS}; not attached: web/disk0: gone",
        ),
        (
            events.ServiceRecovered("io", 9, 2, 3, (), replace(OUTAGE, planned=True)),
            "service OS io: pid 9 (epoch 2) has done what was in flight, 32 requests: pause of "
            f"{STEPS}",
        ),
        (
            events.DeviceUnserved("io", "web/disk0", "no such file"),
            "service OS io: device web/disk0 is not served, but tried again: no such file",
        ),
        (
            events.DeviceServed("io", "web/disk0", 61_000_000_000),
            "service OS io: device web/disk0 is served again after 61.0 s",
        ),
        (
            events.DeviceQuarantined("io", "web/disk0", "killed it 3 times in a row"),
            "service OS io: device web/disk0 is in quarantine: killed it 3 times in a row",
        ),
        (
            events.DeviceReleased("io", "web/disk0"),
            "service OS io: device web/disk0 is given back to it",
        ),
        (events.UpgradeBegun("io"), "service OS io: an upgrade begins"),
        (
            events.UpgradeFailed("io", "could not start"),
            "service OS io: the upgrade failed: could not start",
        ),
        (
            events.OutagePolicyActed("io", "web/disk0", "its requests fail"),
            "service OS io: device web/disk0 waits for too long: its requests fail",
        ),
        (
            events.FaultInjected("io", 8, 1, "hang at mid-batch"),
            "service OS io: pid 8 (epoch 1) is to misbehave: hang at mid-batch",
        ),
        (events.ServiceSaid("io", "a line"), "service OS io: a line"),
        (
            events.ServiceAwaited("io", 7, 2, 18_000_000_000),
            "service OS io: pid 7 (epoch 2) is to close its devices, and is waited for: "
            "18 s at most",
        ),
        (
            events.DeviceAwaited("io", 7, 2, "web/disk0", 4_000_000_000),
            "service OS io: pid 7 (epoch 2) is to answer what is left at device web/disk0, and is "
            "waited for: 4 s at most",
        ),
        (
            events.DeviceOpening("io", 7, 2, "web/disk0", "file", True, 2_000_000_000),
            "service OS io: pid 7 (epoch 2) waits for the driver of device web/disk0: file has "
            "been beginning for 2.0 s",
        ),
        (events.GuestRestarted("web"), "guest web: restarted after a reset"),
    ],
)
def test_what_the_supervisor_does(event, line):
    assert describe(event) == line


def of_core(kind, **fields):
    return describe(events.GuestEvent(core.Event(kind=kind, guest="web", **fields)))


def test_what_the_core_reports():
    assert of_core(core.EVENT_GUEST_STARTED) == "guest web: started"
    assert (
        of_core(core.EVENT_GUEST_ENDED, end_reason=core.END_EXIT, exit_status=3)
        == "guest web: ended, exit status 3"
    )
    assert (
        of_core(core.EVENT_GUEST_ENDED, end_reason=core.END_TRIPLE_FAULT, missed=2)
        == "guest web: ended, triple fault (2 events were missed before)"
    )
    assert (
        of_core(core.EVENT_DEVICE_REPLAYED, device="disk0", count=32)
        == "guest web, device disk0: 32 requests in flight were replayed"
    )
    assert (
        of_core(core.EVENT_DEVICE_NEEDS_RESET, device="disk0", text="a loop")
        == "guest web, device disk0: waits for a reset: a loop"
    )
    balloon = {"kind": core.EVENT_BALLOON_CHANGED, "device": "balloon0", "count": 32 << 20}
    assert of_core(**balloon, text="asked") == "guest web, device balloon0: target 32M asked"
    assert of_core(**balloon, text="reached") == "guest web, device balloon0: target 32M reached"
    assert (
        of_core(core.EVENT_DEVICE_ATTACHED, device="balloon0", epoch=1)
        == "guest web, device balloon0: served by the core"
    )
    assert (
        of_core(core.EVENT_DEVICE_LOST, device="balloon0", epoch=1)
        == "guest web, device balloon0: lost the core"
    )


def test_a_device_that_is_not_served_as_it_should_be():
    disk = {"device": "disk0", "service": "io", "epoch": 2}
    who = "guest web, device disk0"
    assert of_core(core.EVENT_DEVICE_RESUMED, **disk) == f"{who}: first completion by io, epoch 2"
    assert (
        of_core(core.EVENT_DEVICE_STALLED, **disk, count=50)
        == f"{who}: nothing completed for 50 ms"
    )
    assert of_core(core.EVENT_DEVICE_FAILING, **disk, text="gone") == f"{who}: requests fail: gone"


def test_a_stall_is_no_story_where_only_the_machine_is_told_of():
    stall = events.GuestEvent(core.Event(kind=core.EVENT_DEVICE_STALLED, guest="web"))
    assert is_stall(stall)
    assert not is_stall(events.GuestEvent(core.Event(kind=core.EVENT_DEVICE_LOST)))


def test_trouble_matters_to_those_who_want_to_hear_of_nothing_else():
    assert matters(events.ServiceSaid("io", "help"))
    assert matters(events.ServiceAwaited("io", 7, 2, 18_000_000_000))
    assert matters(events.DeviceAwaited("io", 7, 2, "web/disk0", 4_000_000_000))
    assert matters(events.DeviceOpening("io", 7, 2, "web/disk0", "file", False, 2_000_000_000))
    assert matters(events.DeviceQuarantined("io", "web/disk0", "why"))
    assert matters(events.OutagePolicyActed("io", "web/disk0", "its requests fail"))
    assert matters(events.DeviceUnserved("io", "web/disk0", "no such file"))
    assert matters(events.DeviceServed("io", "web/disk0", 1))  # that trouble is over
    assert not matters(events.ServiceDied("io", 8, 1, "signal 9 (SIGKILL)", 0))


def test_what_is_scheduled_otherwise():
    assert of_core(core.EVENT_SCHEDULE_CHANGED) == "guest web: scheduled otherwise"
    changed = core.Event(kind=core.EVENT_POLICY_CHANGED, text="deadline")
    assert describe(events.GuestEvent(changed)) == "scheduling policy: deadline"


def test_accounts_are_no_story():
    vcpus = [core.VcpuStatus(state="running", run_ns=5)]
    assert of_core(core.EVENT_ACCOUNTING, vcpus=vcpus) == ""


@pytest.mark.parametrize("kind", operator.ServiceEventKind.values())
def test_no_message_about_a_service_os_is_unknown(kind):
    message = operator.ServiceEvent(kind=kind, service="io", text="!?")
    line = service_line(message)
    assert line.startswith("service OS io: ")
    silent = (operator.SERVICE_STARTED, operator.SERVICE_PROMOTED, operator.SERVICE_UPGRADE_BEGUN)
    assert ("!?" in line) == (kind not in (*silent, operator.SERVICE_DEVICE_RELEASED))


@pytest.mark.parametrize("kind", core.EventKind.values())
def test_no_event_of_the_contract_is_unknown(kind):
    line = of_core(kind, device="disk0", service="io", text="!?")
    told = (
        *(core.EVENT_DEVICE_NEEDS_RESET, core.EVENT_BALLOON_CHANGED),
        *(core.EVENT_POLICY_CHANGED, core.EVENT_DEVICE_FAILING),
    )
    assert ("!?" in line) == (kind in told)
