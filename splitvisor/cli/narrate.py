"""A supervisor's events as lines for people."""

from protos import core_pb2 as core
from splitvisor.cli.outage_words import length_ms, steps_text
from splitvisor.supervisor import events
from splitvisor.supervisor.outage import Outage
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
# What has a pid.
_Incarnation = (
    events.ServiceStarted
    | events.ServiceStandsBy
    | events.ServiceStandbyLost
    | events.ServiceSuspected
    | events.ServiceDetected
    | events.ServiceDied
    | events.ServicePromoted
    | events.ServiceAttached
    | events.ServiceRecovered
    | events.FaultInjected
)
# What is known without saying: the supervisor itself reports the service OSes.
_SILENT = frozenset(
    {
        *(core.EVENT_GUEST_CREATED, core.EVENT_GUEST_DESTROYED, core.EVENT_ACCOUNTING),
        *(core.EVENT_SERVICE_CONNECTED, core.EVENT_SERVICE_PREPARED, core.EVENT_SERVICE_RELEASED),
        *(core.EVENT_DEVICE_OPENED, core.EVENT_STANDBY_LOST),
    }
)
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
        case _:
            return f"service OS {event.service}: {_service_words(event)}"


def matters(event: events.SupervisorEvent) -> bool:
    """Whether somebody who wants to hear nothing but trouble wants to hear of this."""
    match event:
        case events.ServiceSaid() | events.GuestNotRestarted():
            return True
        case events.DeviceQuarantined() | events.OutagePolicyActed():
            return True
        case events.GuestEvent(inner):
            return inner.kind == core.EVENT_DEVICE_NEEDS_RESET
    return False


def end_of(reason: int, exit_status: int) -> str:
    """How a guest ended."""
    if reason == core.END_EXIT:
        return f"exit status {exit_status}"
    return END_NAMES.get(reason, "unknown")


def _core_line(pid: int, description: core.CoreDescription) -> str:
    cpu = CPU_NAMES[description.auto_cpu]
    why = f" (no KVM: {description.kvm_problem})" if description.kvm_problem else ""
    return f"core: pid {pid}, {description.pcpus} pCPUs, auto takes the {cpu} CPU{why}"


def _service_words(event: events.ServiceEvent) -> str:
    match event:
        case events.DeviceQuarantined(_, device, why):
            return f"device {device} is in quarantine: {why}"
        case events.DeviceReleased(_, device):
            return f"device {device} is given back to it"
        case events.OutagePolicyActed(_, device, what):
            return f"device {device} waits for too long: {what}"
        case events.UpgradeBegun():
            return "an upgrade begins"
        case events.UpgradeFailed(_, why):
            return f"the upgrade failed: {why}"
        case events.ServiceFailed(_, epoch, problem):
            return f"epoch {epoch} {problem}"
        case events.ServiceSaid(_, line):
            return line
        case _:
            return f"pid {event.pid} (epoch {event.epoch}) {_incarnation_words(event)}"


def _incarnation_words(event: _Incarnation) -> str:
    match event:
        case events.ServiceStarted(standby=standby):
            return "is ready to stand by" if standby else "is ready"
        case events.ServiceStandsBy(devices=devices, problems=problems):
            return f"stands by with {devices} devices opened{_but('opened', problems)}"
        case events.ServiceStandbyLost(why=why):
            return f"stands by no more: {why}"
        case events.ServiceSuspected(why=why):
            return f"is as good as dead and will be killed: {why}"
        case events.ServiceDetected(why=why):
            return f"serves no more: {why}"
        case events.ServiceDied(how=how, delay=delay):
            again = f"; the next one in {delay:.1f} s" if delay else ""
            return f"died by {how}, reaped{again}"
        case events.ServicePromoted(warm=warm, one_by_one=one_by_one):
            how = "takes over from standing by" if warm else "takes over"
            return f"{how}, one device after the other" if one_by_one else how
        case events.ServiceAttached(devices=devices, problems=problems):
            return f"has {devices} devices attached{_but('attached', problems)}"
        case events.ServiceRecovered(problems=problems, outage=outage):
            return f"{_recovery(outage)}{_but('attached', problems)}"
        case events.FaultInjected(what=what):
            return f"is to misbehave: {what}"


def _recovery(outage: Outage) -> str:
    what = "pause" if outage.planned else "outage"
    done = f"has done what was in flight, {outage.requests} requests"
    return f"{done}: {what} of {length_ms(outage):.1f} ms ({steps_text(outage)})"


def _but(what: str, problems: tuple[str, ...]) -> str:
    return f"; not {what}: {', '.join(problems)}" if problems else ""


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
