"""A supervisor's events as lines for people."""

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli.outage_words import steps_text
from splitvisor.supervisor import events
from splitvisor.supervisor.messages import messages_of
from splitvisor.supervisor.outage import of_message
from splitvisor.units import format_size

CPU_NAMES: dict[int, str] = {
    core.CPU_AUTO: "auto",
    core.CPU_KVM: "kvm",
    core.CPU_EMULATED: "emulated",
}
END_NAMES: dict[int, str] = {
    core.END_EXIT: "exit",
    core.END_POWER_OFF: "power off",
    core.END_RESET: "reset",
    core.END_STOPPED: "stopped",
    core.END_TRIPLE_FAULT: "triple fault",
    core.END_CPU_FAILURE: "CPU failure",
}
# What is known without saying: the supervisor itself reports the service OSes.
_SILENT = frozenset(
    {
        *(core.EVENT_GUEST_CREATED, core.EVENT_GUEST_DESTROYED, core.EVENT_ACCOUNTING),
        *(core.EVENT_SERVICE_CONNECTED, core.EVENT_SERVICE_PREPARED, core.EVENT_SERVICE_RELEASED),
        *(core.EVENT_DEVICE_OPENED, core.EVENT_STANDBY_LOST),
    }
)
_SERVICE_WORDS: dict[int, str] = {
    operator.SERVICE_STARTED: "is ready",
    operator.SERVICE_STANDS_BY: "stands by with {e.count} devices opened",
    operator.SERVICE_SUSPECTED: "is as good as dead and will be killed: {e.text}",
    operator.SERVICE_DETECTED: "serves no more: {e.text}",
    operator.SERVICE_FENCED: "died by {e.text}, reaped",
    operator.SERVICE_BACKING_OFF: "the next one serves in {e.text}, for too many died",
    operator.SERVICE_PROMOTED: "serves from now on",
    operator.SERVICE_ATTACHED: "has {e.count} devices attached",
    operator.SERVICE_START_FAILED: "epoch {e.epoch} {e.text}",
    operator.SERVICE_STANDBY_LOST: "stands by no more: {e.text}",
    operator.SERVICE_DEVICE_UNSERVED: "device {e.device} is not served, but tried again: {e.text}",
    operator.SERVICE_DEVICE_SERVED: "device {e.device} is served again after {e.text}",
    operator.SERVICE_QUARANTINED: "device {e.device} is in quarantine: {e.text}",
    operator.SERVICE_DEVICE_RELEASED: "device {e.device} is given back to it",
    operator.SERVICE_UPGRADE_BEGUN: "an upgrade begins",
    operator.SERVICE_UPGRADE_FAILED: "the upgrade failed: {e.text}",
    operator.SERVICE_DRIVER_SWAPPED: "serves device {e.device} by another driver: {e.text}",
    operator.SERVICE_DRIVER_SWAP_FAILED: "device {e.device} keeps its driver: {e.text}",
    operator.SERVICE_DISK_MIGRATING: "device {e.device} is being copied: {e.text}",
    operator.SERVICE_DISK_MIGRATED: "device {e.device} has moved: {e.text}",
    operator.SERVICE_DISK_MIGRATION_FAILED: "device {e.device} has not moved: {e.text}",
    operator.SERVICE_OUTAGE_POLICY: "device {e.device} waits for too long: {e.text}",
    operator.SERVICE_AWAITED: "is to close its devices, and is waited for: {e.text} at most",
    operator.SERVICE_DEVICE_AWAITED: (
        "is to answer what is left at device {e.device}, and is waited for: {e.text} at most"
    ),
    operator.SERVICE_DEVICE_OPENING: "waits for the driver of device {e.device}: {e.text}",
    operator.SERVICE_SAID: "{e.text}",
    operator.SERVICE_FAULT: "is to misbehave: {e.text}",
}
# Whose text names the devices for which what is said does not hold.
_EXCEPT = {
    operator.SERVICE_STANDS_BY: "opened",
    operator.SERVICE_ATTACHED: "attached",
    operator.SERVICE_RECOVERED: "attached",
}
_GUEST_LINES = {
    core.EVENT_GUEST_STARTED: "started",
    core.EVENT_GUEST_PAUSED: "paused",
    core.EVENT_GUEST_RESUMED: "resumed",
}


def describe(event: events.SupervisorEvent) -> str:
    """One line, or nothing for what need not be said."""
    match event:
        case events.CoreStarted(pid, description):
            return _core_line(pid, description)
        case events.GuestRestarted(guest):
            return f"guest {guest}: restarted after a reset"
        case events.GuestNotRestarted(guest, why):
            return f"guest {guest}: ended, for it cannot be started again: {why}"
        case events.GuestEvent(inner):
            return _guest_line(inner)
        case events.ServiceAttached(devices=0, problems=()):
            return ""  # at the start: guests come later
        case _:
            words = "; ".join(_service_words(message) for message in messages_of(event, 0))
            return f"service OS {event.service}: {words}"


def service_line(event: operator.ServiceEvent) -> str:
    """What happened to a service OS, in one line."""
    return f"service OS {event.service}: {_service_words(event)}"


def is_stall(event: events.SupervisorEvent) -> bool:
    """A device that completes nothing for a moment: on a busy host that is nothing to be told."""
    return isinstance(event, events.GuestEvent) and event.event.kind == core.EVENT_DEVICE_STALLED


def is_wait(event: events.SupervisorEvent) -> bool:
    """Whether it says what the start or the end of the machine waits for: of no use later."""
    return isinstance(event, events.ServiceAwaited | events.DeviceAwaited | events.DeviceOpening)


def matters(event: events.SupervisorEvent) -> bool:
    """Whether somebody who wants to hear nothing but trouble wants to hear of this."""
    match event:
        case events.ServiceSaid() | events.GuestNotRestarted():
            return True
        case events.DeviceUnserved() | events.DeviceServed():
            return True
        case events.DeviceQuarantined() | events.OutagePolicyActed():
            return True
        case events.GuestEvent(inner):
            return inner.kind == core.EVENT_DEVICE_NEEDS_RESET
    return is_wait(event)


def end_of(reason: int, exit_status: int) -> str:
    """How a guest ended."""
    if reason == core.END_EXIT:
        return f"exit status {exit_status}"
    return END_NAMES.get(reason, "unknown")


def _core_line(pid: int, description: core.CoreDescription) -> str:
    cpu = CPU_NAMES[description.auto_cpu]
    why = f" (no KVM: {description.kvm_problem})" if description.kvm_problem else ""
    return f"core: pid {pid}, {description.pcpus} pCPUs, auto takes the {cpu} CPU{why}"


def _service_words(event: operator.ServiceEvent) -> str:
    if event.kind == operator.SERVICE_RECOVERED:
        outage = of_message(event.outage)
        what = "pause" if outage.planned else "outage"
        done = f"has done what was in flight, {outage.requests} requests"
        words = f"{done}: {what} of {outage.total_ms:.1f} ms ({steps_text(outage)})"
    else:
        words = _SERVICE_WORDS[event.kind].format(e=event)
    if event.text and event.kind in _EXCEPT:
        words += f"; not {_EXCEPT[event.kind]}: {event.text}"
    return f"pid {event.pid} (epoch {event.epoch}) {words}" if event.pid else words


def _guest_line(event: core.Event) -> str:
    missed = f" ({event.missed} events were missed before)" if event.missed else ""
    if event.kind in _SILENT:
        return ""
    if event.kind in _GUEST_LINES:
        return f"guest {event.guest}: {_GUEST_LINES[event.kind]}{missed}"
    if event.kind == core.EVENT_GUEST_ENDED:
        return f"guest {event.guest}: ended, {end_of(event.end_reason, event.exit_status)}{missed}"
    if event.kind == core.EVENT_POLICY_CHANGED:
        return f"scheduling policy: {event.text}{missed}"
    if event.kind == core.EVENT_SCHEDULE_CHANGED:
        return f"guest {event.guest}: scheduled otherwise{missed}"
    device = f"guest {event.guest}, device {event.device}"
    server = f"{event.service}, epoch {event.epoch}" if event.service else "the core"
    match event.kind:
        case core.EVENT_BALLOON_CHANGED:
            what = f"target {format_size(event.count)} {event.text}"
        case core.EVENT_DEVICE_ATTACHED:
            what = f"served by {server}"
        case core.EVENT_DEVICE_LOST:
            what = f"lost {server}"
        case core.EVENT_DEVICE_REPLAYED:
            what = f"{event.count} requests in flight were replayed"
        case core.EVENT_DEVICE_RESUMED:
            what = f"first completion by {server}"
        case core.EVENT_DEVICE_STALLED:
            what = f"nothing completed for {event.count} ms"
        case core.EVENT_DEVICE_FAILING:
            what = f"requests fail: {event.text}"
        case core.EVENT_DEVICE_NEEDS_RESET:
            what = f"waits for a reset: {event.text}"
        case _:
            what = event.text
    return f"{device}: {what}{missed}"
