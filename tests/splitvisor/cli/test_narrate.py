"""Each event has its line, or none."""

import pytest

from protos import core_pb2 as core
from splitvisor.cli.narrate import describe
from splitvisor.supervisor import events
from splitvisor.supervisor.deaths import Outage

MS = 1_000_000
OUTAGE = Outage(killed=1, noticed=5 * MS, reaped=6 * MS, started=200 * MS, attached=205 * MS)


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
        (
            events.ServiceStarted("io", 8, 1),
            "service OS io: pid 8 serves as epoch 1",
        ),
        (
            events.ServiceDied("io", 8, 1, "signal 9 (SIGKILL)", 0),
            "service OS io: pid 8 (epoch 1) died by signal 9 (SIGKILL), reaped",
        ),
        (
            events.ServiceDied("io", 8, 1, "exit status 1", 0.4),
            "service OS io: pid 8 (epoch 1) died by exit status 1, reaped; starting again in 0.4 s",
        ),
        (
            events.ServiceFailed("io", 2, "could not start (exit status 2): x"),
            "service OS io: epoch 2 could not start (exit status 2): x",
        ),
        (
            events.ServiceRecovered("io", 9, 2, 3, ("web/disk0: gone",), OUTAGE),
            "service OS io: pid 9 (epoch 2) has 3 devices attached after 200 ms (noticed 5.0 ms, "
            "reaped 1.0 ms, restarted 194.0 ms, attached 5.0 ms); not attached: web/disk0: gone",
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


def test_what_is_scheduled_otherwise():
    assert of_core(core.EVENT_SCHEDULE_CHANGED) == "guest web: scheduled otherwise"
    changed = core.Event(kind=core.EVENT_POLICY_CHANGED, text="deadline")
    assert describe(events.GuestEvent(changed)) == "scheduling policy: deadline"


def test_accounts_are_no_story():
    vcpus = [core.VcpuStatus(state="running", run_ns=5)]
    assert of_core(core.EVENT_ACCOUNTING, vcpus=vcpus) == ""


@pytest.mark.parametrize("kind", core.EventKind.values())
def test_no_event_of_the_contract_is_unknown(kind):
    line = of_core(kind, device="disk0", service="io", text="!?")
    told = (
        *(core.EVENT_DEVICE_NEEDS_RESET, core.EVENT_BALLOON_CHANGED),
        core.EVENT_POLICY_CHANGED,
    )
    assert ("!?" in line) == (kind in told)
