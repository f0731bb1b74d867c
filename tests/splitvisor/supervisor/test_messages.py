"""What operators are told."""

from typing import get_args

import pytest

from protos import operator_pb2 as operator
from splitvisor.supervisor import events
from splitvisor.supervisor.messages import messages_of
from splitvisor.supervisor.outage import Outage, of_message

OUTAGE = Outage("stopped", 5, attached=9)
SWAPPED = events.DriverSwapped("io", 8, 1, "a/b", "x", "y", 3_140_000)
EXAMPLES = [
    (events.ServiceStarted("io", 8, 1), operator.SERVICE_STARTED, ""),
    (
        events.ServiceStandsBy("io", 8, 1, 3, ("a: x", "b: y")),
        operator.SERVICE_STANDS_BY,
        "a: x, b: y",
    ),
    (events.ServiceStandbyLost("io", 8, 1, "died"), operator.SERVICE_STANDBY_LOST, "died"),
    (events.ServiceSuspected("io", 8, 1, "stopped"), operator.SERVICE_SUSPECTED, "stopped"),
    (events.ServiceDetected("io", 8, 1, "died"), operator.SERVICE_DETECTED, "died"),
    (events.ServiceDied("io", 8, 1, "signal 9", 0), operator.SERVICE_FENCED, "signal 9"),
    (events.ServicePromoted("io", 8, 1, True), operator.SERVICE_PROMOTED, ""),
    (events.ServiceAttached("io", 8, 1, 3, ("a: x",)), operator.SERVICE_ATTACHED, "a: x"),
    (events.ServiceRecovered("io", 8, 1, 3, (), OUTAGE), operator.SERVICE_RECOVERED, ""),
    (events.ServiceFailed("io", 1, "no"), operator.SERVICE_START_FAILED, "no"),
    (events.DeviceUnserved("io", "a/b", "x"), operator.SERVICE_DEVICE_UNSERVED, "x"),
    (events.DeviceServed("io", "a/b", 1_240_000_000), operator.SERVICE_DEVICE_SERVED, "1.2 s"),
    (events.DeviceQuarantined("io", "a/b", "x"), operator.SERVICE_QUARANTINED, "x"),
    (events.DeviceReleased("io", "a/b"), operator.SERVICE_DEVICE_RELEASED, ""),
    (events.UpgradeBegun("io"), operator.SERVICE_UPGRADE_BEGUN, ""),
    (events.UpgradeFailed("io", "no"), operator.SERVICE_UPGRADE_FAILED, "no"),
    (SWAPPED, operator.SERVICE_DRIVER_SWAPPED, "x → y in 3.1 ms"),
    (events.DriverSwapFailed("io", "a/b", "no"), operator.SERVICE_DRIVER_SWAP_FAILED, "no"),
    (events.DiskMigrating("io", "a/b", "x", "y"), operator.SERVICE_DISK_MIGRATING, "x → y"),
    (
        events.DiskMigrated("io", "a/b", "x", "y", 1_240_000_000),
        operator.SERVICE_DISK_MIGRATED,
        "x → y after 1.2 s",
    ),
    (
        events.DiskMigrationFailed("io", "a/b", "no"),
        operator.SERVICE_DISK_MIGRATION_FAILED,
        "no",
    ),
    (events.OutagePolicyActed("io", "a/b", "x"), operator.SERVICE_OUTAGE_POLICY, "x"),
    (events.FaultInjected("io", 8, 1, "kill"), operator.SERVICE_FAULT, "kill"),
    (events.ServiceAwaited("io", 1, 2, 17_600_000_000), operator.SERVICE_AWAITED, "18 s"),
    (
        events.DeviceAwaited("io", 1, 2, "a/b", 3_600_000_000),
        operator.SERVICE_DEVICE_AWAITED,
        "4 s",
    ),
    (
        events.DeviceOpening("io", 1, 2, "a/b", "file", False, 2_000_000_000),
        operator.SERVICE_DEVICE_OPENING,
        "file has been opening for 2.0 s",
    ),
    (events.ServiceSaid("io", "oops"), operator.SERVICE_SAID, "oops"),
]


@pytest.mark.parametrize(("event", "kind", "text"), EXAMPLES)
def test_each_event_of_a_service_os_is_one_message(event, kind, text):
    (message,) = messages_of(event, 77)
    assert (message.kind, message.monotonic_ns) == (kind, 77)
    assert (message.service, message.text) == ("io", text)
    assert message.pid == getattr(event, "pid", 0)
    assert message.epoch == getattr(event, "epoch", 0)
    assert message.device == getattr(event, "device", "")
    assert message.count == getattr(event, "devices", 0)


def test_there_is_an_example_of_each():
    assert {type(event) for event, _, _ in EXAMPLES} == set(get_args(events.ServiceEvent))


def test_a_swap_goes_along():
    (message,) = messages_of(SWAPPED, 1)
    assert message.swap == operator.Swap(old="x", new="y", pause_ms=3.14)


def test_an_outage_goes_along():
    (message,) = messages_of(events.ServiceRecovered("io", 8, 1, 3, (), OUTAGE), 1)
    assert of_message(message.outage) == OUTAGE


def test_a_wait_after_a_death_is_a_message_of_its_own():
    _, waits = messages_of(events.ServiceDied("io", 8, 1, "signal 9", 0.4), 1)
    assert (waits.kind, waits.text) == (operator.SERVICE_BACKING_OFF, "0.4 s")
