"""Addresses for network cards that were given none.

An address follows from the names of machine, guest and device, so it is the same whenever the
machine runs and whatever else is in it, and two machines of different names can share a network.
"""

import dataclasses
import hashlib
from typing import Any, get_type_hints

from drivers import registry
from drivers.spec import Spec, parse
from splitvisor.machine import Device, Guest, Machine, Model

OPTION = "mac"
CHILD = "child"
LOCAL = 0x02  # of the first byte: chosen by an administrator, not by a maker
GROUP = 0x01


def addressed(machine: Machine) -> Machine:
    """The machine with an address in the spec of each network card; DriverError for a wrong one."""
    guests = tuple(_guest(machine.name, guest) for guest in machine.guests)
    return dataclasses.replace(machine, guests=guests)


def address(machine: str, guest: str, device: str) -> str:
    """As in 52:54:00:12:34:56; of a single device, locally administered."""
    name = f"{machine}/{guest}/{device}".encode()
    first, *rest = hashlib.sha256(name).digest()[:6]
    return bytes((first & ~GROUP | LOCAL, *rest)).hex(":")


def _guest(machine: str, guest: Guest) -> Guest:
    devices = tuple(
        _device(machine, guest.name, device) if device.model is Model.NET else device
        for device in guest.devices
    )
    return dataclasses.replace(guest, devices=devices)


def _device(machine: str, guest: str, device: Device) -> Device:
    wanted = parse(device.spec)
    options: type[Any] = registry.find("net", wanted.driver).Options
    if OPTION not in get_type_hints(options) or _has_address(wanted):
        return device
    wanted.options[OPTION] = address(machine, guest, device.name)
    return dataclasses.replace(device, spec=str(wanted))


def _has_address(wanted: Spec) -> bool:
    """Whether a driver of the stack says what it is."""
    below = wanted.options.get(CHILD)
    return OPTION in wanted.options or (below is not None and _has_address(parse(below)))
