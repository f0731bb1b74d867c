"""What a supervisor tells of service OSes, as messages for operators (operator.proto)."""

from dataclasses import dataclass
from typing import Any

from protos import operator_pb2 as operator
from splitvisor.supervisor import events


@dataclass(frozen=True, slots=True)
class _Kind:
    """The kind of message for a kind of event, and which of its fields say what."""

    kind: operator.ServiceEventKind.ValueType
    text: str = ""
    count: str = ""


_KINDS: dict[type, _Kind] = {
    events.ServiceStarted: _Kind(operator.SERVICE_STARTED),
    events.ServiceStandsBy: _Kind(operator.SERVICE_STANDS_BY, "problems", "devices"),
    events.ServiceStandbyLost: _Kind(operator.SERVICE_STANDBY_LOST, "why"),
    events.ServiceSuspected: _Kind(operator.SERVICE_SUSPECTED, "why"),
    events.ServiceDetected: _Kind(operator.SERVICE_DETECTED, "why"),
    events.ServiceDied: _Kind(operator.SERVICE_FENCED, "how"),
    events.ServicePromoted: _Kind(operator.SERVICE_PROMOTED),
    events.ServiceAttached: _Kind(operator.SERVICE_ATTACHED, "problems", "devices"),
    events.ServiceRecovered: _Kind(operator.SERVICE_RECOVERED, "problems", "devices"),
    events.ServiceFailed: _Kind(operator.SERVICE_START_FAILED, "problem"),
    events.DeviceUnserved: _Kind(operator.SERVICE_DEVICE_UNSERVED, "why"),
    events.DeviceServed: _Kind(operator.SERVICE_DEVICE_SERVED, "after"),
    events.DeviceQuarantined: _Kind(operator.SERVICE_QUARANTINED, "why"),
    events.DeviceReleased: _Kind(operator.SERVICE_DEVICE_RELEASED),
    events.UpgradeBegun: _Kind(operator.SERVICE_UPGRADE_BEGUN),
    events.UpgradeFailed: _Kind(operator.SERVICE_UPGRADE_FAILED, "why"),
    events.DriverSwapped: _Kind(operator.SERVICE_DRIVER_SWAPPED, "what"),
    events.DriverSwapFailed: _Kind(operator.SERVICE_DRIVER_SWAP_FAILED, "why"),
    events.DiskMigrating: _Kind(operator.SERVICE_DISK_MIGRATING, "what"),
    events.DiskMigrated: _Kind(operator.SERVICE_DISK_MIGRATED, "what"),
    events.DiskMigrationFailed: _Kind(operator.SERVICE_DISK_MIGRATION_FAILED, "why"),
    events.OutagePolicyActed: _Kind(operator.SERVICE_OUTAGE_POLICY, "what"),
    events.FaultInjected: _Kind(operator.SERVICE_FAULT, "what"),
    events.ServiceAwaited: _Kind(operator.SERVICE_AWAITED, "left"),
    events.DeviceAwaited: _Kind(operator.SERVICE_DEVICE_AWAITED, "left"),
    events.DeviceOpening: _Kind(operator.SERVICE_DEVICE_OPENING, "what"),
    events.ServiceSaid: _Kind(operator.SERVICE_SAID, "line"),
}


def messages_of(event: events.ServiceEvent, now: int) -> list[operator.ServiceEvent]:
    """The messages for an event at `now` (ns, monotonic)."""
    kind = _KINDS[type(event)]
    message = operator.ServiceEvent(kind=kind.kind, monotonic_ns=now)
    for name in ("service", "pid", "epoch", "device"):
        setattr(message, name, getattr(event, name, getattr(message, name)))
    message.text = _text(getattr(event, kind.text) if kind.text else "")
    message.count = getattr(event, kind.count) if kind.count else 0
    if isinstance(event, events.ServiceRecovered):
        message.outage.CopyFrom(event.outage.message())
    if isinstance(event, events.DriverSwapped):
        message.swap.CopyFrom(swap_of(event))
    if isinstance(event, events.ServiceDied) and event.delay:
        waits = operator.ServiceEvent(kind=operator.SERVICE_BACKING_OFF, monotonic_ns=now)
        waits.service, waits.text = event.service, f"{event.delay:.1f} s"
        return [message, waits]
    return [message]


def swap_of(event: events.DriverSwapped) -> operator.Swap:
    """The swap that it is about."""
    return operator.Swap(old=event.old, new=event.new, pause_ms=event.pause_ns / 1e6)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
