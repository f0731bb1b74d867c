"""A supervisor's events as lines for people."""

from protos import core_pb2 as core
from splitvisor.supervisor import events
from splitvisor.supervisor.deaths import Outage
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
        *(core.EVENT_GUEST_CREATED, core.EVENT_GUEST_DESTROYED, core.EVENT_SERVICE_CONNECTED),
        core.EVENT_ACCOUNTING,
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
        case events.ServiceStarted(service, pid, epoch):
            return f"service OS {service}: pid {pid} serves as epoch {epoch}"
        case events.ServiceDied(service, pid, epoch, how, delay):
            again = f"; starting again in {delay:.1f} s" if delay else ""
            return f"service OS {service}: pid {pid} (epoch {epoch}) died by {how}, reaped{again}"
        case events.ServiceFailed(service, epoch, problem):
            return f"service OS {service}: epoch {epoch} {problem}"
        case events.ServiceSaid(service, line):
            return f"service OS {service}: {line}"
        case events.ServiceRecovered(service, pid, epoch, devices, problems, outage):
            lost = f"; not attached: {', '.join(problems)}" if problems else ""
            return (
                f"service OS {service}: pid {pid} (epoch {epoch}) has {devices} devices attached "
                f"after {outage.total_ms:.0f} ms ({outage_steps(outage)}){lost}"
            )
        case events.GuestRestarted(guest):
            return f"guest {guest}: restarted after a reset"
        case events.GuestNotRestarted(guest, why):
            return f"guest {guest}: ended, for it cannot be started again: {why}"
        case events.GuestEvent(inner):
            return _guest_line(inner)


def matters(event: events.SupervisorEvent) -> bool:
    """Whether somebody who wants to hear nothing but trouble wants to hear of this."""
    match event:
        case events.ServiceSaid() | events.GuestNotRestarted():
            return True
        case events.GuestEvent(inner):
            return inner.kind == core.EVENT_DEVICE_NEEDS_RESET
    return False


def outage_steps(outage: Outage) -> str:
    """The steps of an outage with the time each took."""
    return ", ".join(f"{step} {ms:.1f} ms" for step, ms in outage.steps_ms().items())


def end_of(reason: int, exit_status: int) -> str:
    """How a guest ended."""
    if reason == core.END_EXIT:
        return f"exit status {exit_status}"
    return END_NAMES.get(reason, "unknown")


def _core_line(pid: int, description: core.CoreDescription) -> str:
    cpu = CPU_NAMES[description.auto_cpu]
    why = f" (no KVM: {description.kvm_problem})" if description.kvm_problem else ""
    return f"core: pid {pid}, {description.pcpus} pCPUs, auto takes the {cpu} CPU{why}"


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
        case core.EVENT_DEVICE_NEEDS_RESET:
            what = f"waits for a reset: {event.text}"
        case _:
            what = event.text
    return f"{device}: {what}{missed}"
