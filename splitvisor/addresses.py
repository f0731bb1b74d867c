"""Addresses for network cards that were given none.

An address follows from the host, the folder in which the machine runs, and the names of guest and
device. Two machines that run at the same time have two folders, so they may share a network, also
with those of other hosts; and a machine that is started again where it ran has its addresses again.
"""

import dataclasses
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

from drivers import registry
from drivers.spec import Spec, parse
from splitvisor.machine import Device, Guest, Machine, Model

OPTION = "mac"
CHILD = "child"
LOCAL = 0x02  # of the first byte: chosen by an administrator, not by a maker
GROUP = 0x01
HOST = Path("/etc/machine-id")  # machine-id(5); it is not to be told as it is


def addressed(machine: Machine, place: str) -> Machine:
    """The machine with an address in the spec of each network card, if it runs in this place;
    DriverError for a wrong spec.
    """
    guests = tuple(_guest(place, guest) for guest in machine.guests)
    return dataclasses.replace(machine, guests=guests)


def place_of(folder: Path) -> str:
    """Of the machine that runs in this folder, among all machines of all hosts."""
    host = ""
    with suppress(OSError, UnicodeDecodeError):
        host = HOST.read_text().strip()
    return f"{host}{os.path.realpath(folder)}"


def address(place: str, guest: str, device: str) -> str:
    """As in 52:54:00:12:34:56; of a single device, locally administered."""
    name = f"{place}/{guest}/{device}".encode()
    first, *rest = hashlib.sha256(name).digest()[:6]
    return bytes((first & ~GROUP | LOCAL, *rest)).hex(":")


def following(spec: str, before: str) -> str:
    """The spec of a network card that takes over from another, with that one's address unless it
    says what its own is; DriverError for a wrong one.
    """
    found = _address_of(parse(before))
    return _given(spec, found) if found is not None else spec


def _guest(place: str, guest: Guest) -> Guest:
    devices = tuple(
        _device(place, guest.name, device) if device.model is Model.NET else device
        for device in guest.devices
    )
    return dataclasses.replace(guest, devices=devices)


def _device(place: str, guest: str, device: Device) -> Device:
    spec = _given(device.spec, address(place, guest, device.name))
    return dataclasses.replace(device, spec=spec)


def _given(spec: str, mac: str) -> str:
    """The spec with this address, if its driver takes one and has none."""
    wanted = parse(spec)
    options: type[Any] = registry.find("net", wanted.driver).Options
    if OPTION not in get_type_hints(options) or _address_of(wanted) is not None:
        return spec
    wanted.options[OPTION] = mac
    return str(wanted)


def _address_of(wanted: Spec) -> str | None:
    """What the outermost driver of a stack that says something says it is."""
    if OPTION in wanted.options:
        return wanted.options[OPTION]
    below = wanted.options.get(CHILD)
    return None if below is None else _address_of(parse(below))
