"""A machine for a test as the text of a machine file.

Consoles go to files beside it, GUEST.log and GUEST.com1.log, where a test can read them. All other
paths start there as well.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.spec import parse
from splitvisor.machine import DEFAULT_SERVICE, CpuChoice, ServiceSettings


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest; each of its disks is a spec such as `file:path=disk.img`."""

    name: str
    image: Path
    arguments: str = ""
    disks: Sequence[str] = ()
    memory: str = "64M"
    cpu: CpuChoice = CpuChoice.AUTO
    service: str = DEFAULT_SERVICE
    com1: bool = False
    outage: str = "hold"
    logs: str = ""  # what its logs are called, if not as the guest


def console_log(guest: str) -> str:
    """The name of the file with a guest's console."""
    return f"{guest}.log"


def com1_log(guest: str) -> str:
    """The name of the file with what a guest sent to its COM1."""
    return f"{guest}.com1.log"


def console_of(guest: str, table: Mapping[str, Any]) -> str:
    """The name of the file with a guest's console, by its table in a machine file."""
    match table.get("console"):
        case {"driver": "log", "path": str(path)}:
            return path
    return console_log(guest)


def text(name: str, guests: Iterable[Guest], services: Mapping[str, ServiceSettings]) -> str:
    """The machine file."""
    lines = ["[machine]", f"name = {_value(name)}"]
    for service, settings in services.items():
        lines += ["", f"[services.{_value(service)}]"]
        lines += [
            f"{key} = {_value(getattr(settings, key))}"
            for key in ("standby", "watchdog", "failpoints")
        ]
    for guest in guests:
        lines += ["", f"[guests.{_value(guest.name)}]"]
        lines += [f"{key} = {value}" for key, value in _guest(guest)]
    return "\n".join([*lines, ""])


def tables(file: Path) -> tuple[str, Mapping[str, Mapping[str, Any]]]:
    """The name of a file's machine, and the tables of its guests.

    Taken as it is: `splitvisor up` complains, and may know drivers that are lent to it alone.
    """
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        document = {}
    name = _table(document.get("machine")).get("name", file.stem)
    guests = _table(document.get("guests")).items()
    return str(name), {guest: _table(table) for guest, table in guests}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _guest(guest: Guest) -> Iterable[tuple[str, str]]:
    logs = guest.logs or guest.name
    com1 = _log(com1_log(logs), guest.service) if guest.com1 else "false"
    yield "image", _value(str(guest.image.absolute()))
    yield "arguments", _value(guest.arguments)
    yield "memory", _value(guest.memory)
    yield "cpu", _value(guest.cpu.value)
    yield "outage", _value(guest.outage)
    yield "console", _log(console_log(logs), guest.service)
    yield "com1", com1
    yield "entropy", _device("system", {}, guest.service)
    yield "disks", f"[{', '.join(_disk(spec, guest.service) for spec in guest.disks)}]"


def _disk(spec: str, service: str) -> str:
    wanted = parse(spec)
    return _device(wanted.driver, wanted.options, service)


def _log(path: str, service: str) -> str:
    return _device("log", {"path": path}, service)


def _device(driver: str, options: Mapping[str, str | None], service: str) -> str:
    table: dict[str, str | bool] = {"driver": driver, "service": service}
    table |= {key: True if value is None else value for key, value in options.items()}
    return f"{{ {', '.join(f'{_value(key)} = {_value(value)}' for key, value in table.items())} }}"


def _value(value: str | bool) -> str:
    """As TOML has it; its strings are JSON's."""
    return json.dumps(value)
