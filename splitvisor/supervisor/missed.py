"""What is done when events of the core were missed: one may have told that a device was lost.

A device that an incarnation is to serve and that is attached to none in two looks at the core has
lost its stream: they are so far apart that whatever takes it away on purpose (a swap) is over.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import trio

from protos import core_pb2 as core

LOOKS_APART = 12.0  # seconds


class Service(Protocol):
    """What is asked of the keeper of a service OS."""

    def serves(self, device: str) -> int | None:
        """The epoch of the incarnation that is to serve a device (guest/device), if one is."""

    def lost(self, epoch: int, device: str, why: str) -> None:
        """It does not."""


class Missed:
    """Of one machine; `statuses` are the core's of its guests, none if it does not answer."""

    def __init__(
        self,
        services: Mapping[str, Service],
        statuses: Callable[[], Awaitable[list[core.GuestStatus]]],
    ) -> None:
        self._services = services
        self._statuses = statuses
        self._noticed = trio.Event()

    def noticed(self) -> None:
        """Some were missed."""
        self._noticed.set()

    async def keep(self) -> None:
        """Look whenever that is so."""
        while True:
            await self._noticed.wait()
            self._noticed = trio.Event()
            before = await self._unserved()
            await trio.sleep(LOOKS_APART)
            for service, epoch, device in before & await self._unserved():
                self._services[service].lost(epoch, device, "events were missed, and it is away")

    async def _unserved(self) -> set[tuple[str, int, str]]:
        found = set()
        statuses = await self._statuses()
        if not statuses:
            self.noticed()
        for guest in statuses:
            for device in guest.devices:
                name, service = f"{guest.name}/{device.name}", self._services.get(device.service)
                served = device.attached or device.failing or guest.state == core.GUEST_ENDED
                epoch = service.serves(name) if service and not served else None
                if epoch is not None:
                    found.add((device.service, epoch, name))
        return found
