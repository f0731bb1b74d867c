"""What a recovery machine's state looks like to an operator."""

from protos import operator_pb2 as operator
from splitvisor.machine import ServiceSettings
from splitvisor.supervisor.incarnation import Standby
from splitvisor.supervisor.recovery import Recovery
from splitvisor.supervisor.states import SERVES, State


def status_of(machine: Recovery, settings: ServiceSettings, now: int) -> operator.ServiceStatus:
    """All that the machine knows at `now`, in nanoseconds; processes are the keeper's."""
    history = machine.history
    status = operator.ServiceStatus(
        name=machine.service,
        state=_state_of(machine),
        deaths=history.deaths,
        last_death=history.last_death,
        recoveries=history.recoveries,
        upgrades=history.upgrades,
        worst_outage_ms=history.worst_ms,
        failpoints=settings.failpoints,
        watchdog="on" if settings.watchdog else "off",
    )
    if machine.active is not None:
        status.epoch = machine.active.epoch
    if machine.standby is not None:
        ready = machine.standby.phase is Standby.READY
        status.standby.state = operator.STANDBY_READY if ready else operator.STANDBY_STARTING
        status.standby.epoch = machine.standby.epoch
    elif settings.standby:
        status.standby.state = operator.STANDBY_STARTING  # in a moment
    if status.standby.state == operator.STANDBY_STARTING:
        status.standby.problem = machine.trouble.problem
    if history.last is not None:
        status.last_outage_ms = history.last.total_ms
        status.last_outage.CopyFrom(history.last.message())
    for device, reason in machine.quarantine.reasons.items():
        status.quarantined.add(device=device, reason=reason)
    for device, entry in machine.unserved.devices.items():
        for_s = (now - entry.since) / 1e9
        status.unserved.add(device=device, reason=entry.reason, for_s=for_s)
    device, lasted = machine.unserved.longest(now)
    if device:
        status.longest_absence.CopyFrom(operator.Absence(device=device, for_s=lasted / 1e9))
    return status


def out_since(machine: Recovery, device: str) -> int:
    """Since when nobody serves a device that is not in quarantine; 0 if somebody does."""
    if device in machine.quarantine.reasons:
        return 0
    if entry := machine.unserved.devices.get(device):
        return entry.since
    outage = machine.outage
    if outage is None or machine.state in SERVES:
        return 0
    # What was released is done; killing who did it is part of the pause.
    return outage.fenced if outage.planned else outage.detected


def _state_of(machine: Recovery) -> operator.ServiceState.ValueType:
    if machine.state in SERVES:
        return operator.SERVICE_SERVING
    if not machine.served:
        return operator.SERVICE_STARTING
    if machine.state is State.BACKING_OFF:
        return operator.SERVICE_DEAD
    return operator.SERVICE_RECOVERING
