"""Other drivers for devices of a running machine: what is looked at first, and what is known then.

Checks load drivers and look at files, which may take long, so they are made on a thread: meanwhile
a service OS may die, and is not to wait for that.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import trio

from drivers import registry
from drivers.interface import DriverError
from drivers.options import nearest
from drivers.rooting import rooted
from protos import operator_pb2 as operator
from splitvisor.addresses import following
from splitvisor.claims import keep_of, refuse_shared_files
from splitvisor.errors import UserError
from splitvisor.machine import BALLOON, Device, Guest, Machine, Model
from splitvisor.supervisor.events import DriverSwapped
from splitvisor.supervisor.locks import Locks
from splitvisor.supervisor.messages import swap_of


class Keeper(Protocol):
    """What is needed of who keeps a service OS."""

    async def swap(self, device: str, old: str, new: str, idle: bool) -> DriverSwapped:
        """Have another driver serve guest/device, if `idle` only while its guest does not use it.

        UserError if it is not served by that afterwards.
        """


class Booted(Protocol):
    """What is needed of who starts guests."""

    def swapped(self, guest: str, device: str, spec: str) -> None:
        """From now on a device has another driver, also when its guest is started anew."""


class Swaps:
    """Of one machine; `machine` is as it is now. `terminal`: it has standard input and output."""

    def __init__(
        self,
        machine: Machine,
        services: Mapping[str, Keeper],
        guests: Booted,
        locks: Locks,
        terminal: bool = True,
    ) -> None:
        self.machine = machine
        self._terminal = terminal
        self._services = services
        self._guests = guests
        self._locks = locks
        self.moving: set[str] = set()  # devices whose drivers are somebody else's to swap
        self._one = trio.Lock()

    async def swap(self, request: operator.SwapDriverRequest) -> operator.SwapDriverReply:
        """Have another driver serve a device; UserError if that cannot be."""
        name = request.device
        if name in self.moving:
            cure = f"wait, or end that with 'splitvisor driver abort {name}'"
            raise UserError(f"device {name} is being copied: {cure}")
        async with self._one:
            after, idle = await trio.to_thread.run_sync(planned, self.machine, request)
            if find(after, name)[1].on_terminal() and not self._terminal:
                why = "a machine in the background has no terminal"
                raise UserError(f"device {name}: {why}: give a log, unix or pty console")
            told = await self._become(name, after, idle)
            return operator.SwapDriverReply(pid=told.pid, epoch=told.epoch, swap=swap_of(told))

    async def change(self, name: str, plan: Callable[[Machine], Machine]) -> DriverSwapped:
        """Have the driver that a device has in what `plan` makes of the machine serve it.

        `plan` runs on a thread and sees to it that it serves the same; UserError as there.
        """
        async with self._one:
            after = await trio.to_thread.run_sync(plan, self.machine)
            return await self._become(name, after, idle=False)

    async def _become(self, name: str, after: Machine, idle: bool) -> DriverSwapped:
        guest, device = find(self.machine, name)
        _, wanted = find(after, name)
        try:
            await trio.to_thread.run_sync(self._locks.take, after)
            keeper = self._services[device.service]
            told = await keeper.swap(name, device.spec, wanted.spec, idle)
            self.machine = after
            self._guests.swapped(guest.name, device.name, wanted.spec)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._locks.keep, self.machine)
        return told


def find(machine: Machine, name: str) -> tuple[Guest, Device]:
    """The guest and device of guest/device; UserError if it is none, or the core serves it."""
    devices = {
        f"{guest.name}/{device.name}": (guest, device)
        for guest in machine.guests
        for device in guest.devices
    }
    if name in devices:
        return devices[name]
    if any(guest.balloon and name == f"{guest.name}/{BALLOON}" for guest in machine.guests):
        raise UserError(f"device {name} is served by the core itself: it has no driver to swap")
    raise UserError(f"no device {name!r}{nearest(name, devices)}")


def planned(machine: Machine, request: operator.SwapDriverRequest) -> tuple[Machine, bool]:
    """The machine as it is to be, and whether the device must be idle for the swap.

    UserError for what can be known to be wrong: the spec, a file that is in use, other content.
    """
    guest, device = find(machine, request.device)
    kind = device.model.driver_kind
    try:
        spec = rooted(kind, request.spec, Path(request.root))
        registry.check(kind, spec)
        if device.model is Model.NET:
            spec = following(spec, device.spec)
        after = with_spec(machine, guest, device, spec)
        refuse_shared_files(after)
        keep = keep_of(guest.name, device.name)
        was, becomes = (registry.content(kind, one, keep) for one in (device.spec, spec))
    except DriverError as error:
        raise UserError(f"device {request.device}: {error}") from None
    same = device.model is not Model.BLOCK or spec == device.spec or (was and was == becomes)
    if not same and request.content != operator.CONTENT_REPLACED:
        what = "serves other content than" if was and becomes else "may serve other content than"
        cure = "--copy moves it over, --replace gives it up, if the guest does not use the disk"
        raise UserError(f"device {request.device}: {spec} {what} {device.spec}: {cure}")
    return after, not same


def with_spec(machine: Machine, guest: Guest, device: Device, spec: str) -> Machine:
    """The machine with another driver behind one device."""
    changed = dataclasses.replace(device, spec=spec)
    devices = tuple(changed if one is device else one for one in guest.devices)
    guests = (dataclasses.replace(g, devices=devices) if g is guest else g for g in machine.guests)
    return dataclasses.replace(machine, guests=tuple(guests))
