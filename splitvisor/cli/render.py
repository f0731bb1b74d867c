"""Status messages as tables for people and as plain values for JSON."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Literal

from google.protobuf.message import Message
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli.migration_words import stage_text
from splitvisor.cli.narrate import CPU_NAMES, end_of
from splitvisor.units import format_size

WIDE = 200  # columns where there is no terminal that says how many it has
STALLED_MS = 100  # without a completion, from which on a device that has work is remarkable
WIDE_TABLE = 110  # columns that a table of devices with everything in it takes
_COUNTS = ("requests", "from\nguest", "to\nguest", "in\nflight", "replayed")
_STATES = {
    core.GUEST_CREATED: "created",
    core.GUEST_RUNNING: "running",
    core.GUEST_PAUSED: "paused",
}


def console() -> Console:
    """Standard output: as wide as the terminal, or wide."""
    as_it_is = partial(Console, highlight=False, markup=False, emoji=False)
    found = as_it_is()
    return found if found.is_terminal else as_it_is(width=WIDE)


def plain(message: Message) -> dict[str, Any]:
    """All fields by name; an enum in lower case, without the word that its names begin with.

    (GUEST_RUNNING: running.) What is optional and not there is None.
    """
    return {field.name: _plain_field(field, message) for field in message.DESCRIPTOR.fields}


def bytes_text(count: int) -> str:
    """A number of bytes in three digits or so."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def state_text(guest: core.GuestStatus) -> str:
    """What a guest is doing, or how it ended."""
    if guest.state == core.GUEST_ENDED:
        return f"ended, {end_of(guest.end_reason, guest.exit_status)}"
    return _STATES[guest.state]


def title(machine: operator.MachineStatus) -> str:
    """Which machine, and where it lives."""
    return (
        f"machine {machine.name}: supervisor pid {machine.supervisor_pid}, "
        f"core pid {machine.core_pid}, {machine.run_dir}"
    )


def guests_table(machine: operator.MachineStatus) -> Table:
    """One line per guest."""
    rows = table(
        ("guest", "state", "cpu", "memory", "resident", "vcpus", "exits"),
        right=("memory", "resident", "vcpus", "exits"),
    )
    for guest in machine.guests:
        rows.add_row(
            guest.name,
            state_text(guest),
            CPU_NAMES[guest.cpu],
            memory_text(guest),
            bytes_text(guest.resident),
            str(len(guest.vcpus)),
            f"{sum(vcpu.exits for vcpu in guest.vcpus):,}",
        )
    return rows


def memory_text(guest: core.GuestStatus) -> str:
    """What a guest has, and with a balloon what it keeps and is to keep."""
    if not guest.balloon_target:
        return format_size(guest.memory)
    kept, wanted = bytes_text(guest.balloon_actual), bytes_text(guest.balloon_target)
    return f"{kept} of {format_size(guest.memory)}, asked for {wanted}"


def devices_table(machine: operator.MachineStatus, width: int) -> Table:
    """One line per device, `width` columns: what serves it, and what went through it."""
    wide = width >= WIDE_TABLE
    columns = ["device", *(["model"] if wide else []), "served by", *_COUNTS]
    services = {service.name: service for service in machine.services}
    devices = [(guest.name, device) for guest in machine.guests for device in guest.devices]
    unattached = _unserved(machine)
    remarks = device_remarks(machine)
    remarked = wide and bool(remarks)
    rows = table((*columns, *(["remarks"] if remarked else [])), right=_COUNTS)
    for guest, device in devices:
        row = [f"{guest}/{device.name}"]
        row += [device.model] if wide else []
        row += [
            served_by(device, services.get(device.service), wide, row[0] in unattached),
            f"{device.requests:,}",
            bytes_text(device.bytes_from_guest),
            bytes_text(device.bytes_to_guest),
            str(device.in_flight),
            str(device.replayed),
        ]
        rows.add_row(*row, *([remarks.get(row[0], "")] if remarked else []))
    return rows


def served_by(
    device: core.DeviceStatus,
    service: operator.ServiceStatus | None,
    full: bool = True,
    unattached: bool = False,
) -> str:
    """`service (pid 123, epoch 2)`, shorter unless `full`; nobody while it is dead.

    `unattached`: the service OS serves, and cannot attach it.
    """
    if not device.service:
        return "core"
    if device.failing:
        return "nobody (its requests fail)" if full else "nobody"
    if not device.attached or service is None or service.epoch != device.epoch:
        why = "not attached" if unattached else f"{device.service} is away"
        return f"nobody ({why})" if full else "nobody"
    if not full:
        return f"pid {service.pid} epoch {device.epoch}"
    return f"{device.service} (pid {service.pid}, epoch {device.epoch})"


def device_remarks(machine: operator.MachineStatus) -> dict[str, str]:
    """What is unusual about devices, by guest/device; nothing of those that just serve."""
    moving = {m.device: stage_text(m) for service in machine.services for m in service.migrations}
    quarantined = {q.device: q.reason for service in machine.services for q in service.quarantined}
    unserved = _unserved(machine)
    found = {}
    for guest in machine.guests:
        for device in guest.devices:
            name = f"{guest.name}/{device.name}"
            remarks = [*_remarks(device, quarantined.get(name, ""), unserved.get(name, ""))]
            if name in moving:
                remarks.append(f"copying {moving[name]}")
            if remarks:
                found[name] = "; ".join(remarks)
    return found


def _unserved(machine: operator.MachineStatus) -> dict[str, str]:
    """Why devices are not served though their service OS serves others."""
    return {u.device: u.reason for service in machine.services for u in service.unserved}


def _remarks(device: core.DeviceStatus, quarantine: str, unserved: str) -> Iterator[str]:
    if unserved:
        yield f"not served: {unserved}"
    if quarantine:
        yield f"in quarantine: {quarantine}"
    elif device.failing:
        yield f"requests fail: {device.failing}"
    if device.stalled_ms >= STALLED_MS:
        yield f"nothing completed for {device.stalled_ms} ms"
    if device.needs_reset:
        yield f"needs reset: {device.needs_reset}"
    if device.dropped:
        yield f"{device.dropped} messages dropped"


def table(columns: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """An empty table; what is to the `right` are numbers."""
    made = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=column != "remarks")
    return made


def _plain_field(field: Any, message: Message) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_plain_value(field, item) for item in value]
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return _enum_names(field.enum_type)[value]
    return value


@cache
def _enum_names(enum: Any) -> dict[int, str]:
    names = {number: value.name.lower() for number, value in enum.values_by_number.items()}
    prefix = names[0].partition("_")[0] + "_"
    return {number: name.removeprefix(prefix) for number, name in names.items()}
