"""A machine for a test as the text of a machine file.

Consoles go to files beside it, NAME.log and NAME.com1.log, where a test can read them. All other
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


def console_log(guest: str) -> str:
    """The name of the file with a guest's console."""
    return f"{guest}.log"


def com1_log(guest: str) -> str:
    """The name of the file with what a guest sent to its COM1."""
    return f"{guest}.com1.log"


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


def tables(file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a machine file has of the machine and of its guests.

    Taken as it is: `splitvisor up` complains, and may know drivers that are lent to it alone.
    """
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        document = {}
    machine, guests = (document.get(key) for key in ("machine", "guests"))
    return _table(machine), _table(guests)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _guest(guest: Guest) -> Iterable[tuple[str, str]]:
    com1 = _log(com1_log(guest.name), guest.service) if guest.com1 else "false"
    yield "image", _value(str(guest.image.absolute()))
    yield "arguments", _value(guest.arguments)
    yield "memory", _value(guest.memory)
    yield "cpu", _value(guest.cpu.value)
    yield "outage", _value(guest.outage)
    yield "console", _log(console_log(guest.name), guest.service)
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
