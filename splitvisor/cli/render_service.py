"""Service OSes, who stands by for them, and their last outages, for people."""

from collections.abc import Iterable, Iterator

from rich.table import Table

from protos import operator_pb2 as operator
from splitvisor.cli.migration_words import stage_text
from splitvisor.cli.outage_words import outage_text
from splitvisor.cli.render import table
from splitvisor.supervisor.outage import of_message

WIDE_TABLE = 92  # columns that a table with everything in it takes
_STANDBY = {
    operator.STANDBY_OFF: "off",
    operator.STANDBY_STARTING: "starting",
    operator.STANDBY_READY: "ready",
}


def services_table(machines: Iterable[operator.MachineStatus], width: int) -> Table:
    """One line per service OS, `width` columns."""
    wide = width >= WIDE_TABLE
    outages = ("last\noutage", "worst\noutage")
    counts = ("deaths", *(["recovered", "upgrades"] if wide else []), *outages)
    numbers = ("pid", "epoch", "uptime", *counts)
    rows = table(
        ("machine", "service", "state", "pid", "epoch", "uptime", "standby", *counts), numbers
    )
    for machine in machines:
        for service in machine.services:
            recovered = [str(service.recoveries), str(service.upgrades)] if wide else []
            rows.add_row(
                machine.name,
                service.name,
                operator.ServiceState.Name(service.state).removeprefix("SERVICE_").lower(),
                str(service.pid),
                str(service.epoch),
                f"{service.uptime_s:.1f} s",
                _STANDBY[service.standby.state],
                str(service.deaths),
                *recovered,
                _ms(service.last_outage_ms),
                _ms(service.worst_outage_ms),
            )
    return rows


def service_lines(machine: operator.MachineStatus) -> Iterator[str]:
    """What the table has no room for: the last outage in its steps, and devices not served."""
    for service in machine.services:
        name = f"{machine.name}/{service.name}"
        if service.HasField("last_outage"):
            yield f"{name}: last outage: {outage_text(of_message(service.last_outage))}"
        elif service.last_death:
            yield f"{name}: last death: {service.last_death}"
        if service.standby.problem:
            yield f"{name}: nobody stands by: {service.standby.problem}; another is tried"
        for unserved in service.unserved:
            yield (
                f"{name}: {unserved.device} is not served, for {unserved.for_s:.1f} s: "
                f"{unserved.reason}; it is tried again"
            )
        if service.HasField("longest_absence"):
            longest = service.longest_absence
            yield f"{name}: longest absence of a device: {longest.device}, {longest.for_s:.1f} s"
        for moving in service.migrations:
            yield f"{name}: {moving.device} is being copied to {moving.new}: {stage_text(moving)}"
        for quarantined in service.quarantined:
            device = f"{machine.name}/{quarantined.device}"
            yield (
                f"{name}: {quarantined.device} is in quarantine: {quarantined.reason}; "
                f"'splitvisor service release {device}' gives it back"
            )


def _ms(amount: float) -> str:
    return f"{amount:.1f} ms" if amount else "-"
