"""What the start or the end of a machine waits for, told when that takes long.

A driver may hang where it is opened, and a service OS may never answer what a guest has left there
or never close its devices. Each has its time limit; until that is over whoever waits is to know
for whom.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import grpc
import trio

from drivers import spec
from protos import core_pb2 as core
from splitvisor.supervisor import events
from splitvisor.supervisor.service import ServiceKeeper

OPENING = 2.0  # seconds that a driver may take to open, or to begin, before it is told
ANSWERING = 1.0  # that guests may take to end
CLOSING = 2.0  # that a service OS may take


class Opening:
    """The devices of a guest that is being created: they are opened one after the other."""

    def __init__(self, config: core.GuestConfig) -> None:
        self.begun = False  # the first of them is open, and is told to begin
        self.since = trio.current_time()
        self.changed = trio.Event()
        self._guest = config.name
        self._left = list(config.devices)
        self._made = time.monotonic_ns()

    @property
    def device(self) -> core.DeviceConfig | None:
        """The one whose turn it is."""
        return self._left[0] if self._left else None

    def heard(self, event: core.Event) -> None:
        """Something happened in the core."""
        late = event.monotonic_ns < self._made  # of a guest of that name before this one
        if late or not self._left or self._left[0].name != event.device:
            return
        if event.kind == core.EVENT_DEVICE_ATTACHED:
            del self._left[0]
            self._next(begun=False)
        elif event.kind == core.EVENT_DEVICE_STALLED and not self.begun:
            self._next(begun=True)

    def told(self, service: ServiceKeeper) -> events.DeviceOpening | None:
        """Where it is now."""
        if self.device is None:
            return None
        status, name = service.status(), f"{self._guest}/{self.device.name}"
        driver = spec.parse(self.device.spec).driver
        for_ns = round((trio.current_time() - self.since) * 1e9)
        about = (service.name, status.pid, status.epoch, name, driver, self.begun, for_ns)
        return events.DeviceOpening(*about)

    def _next(self, *, begun: bool) -> None:
        self.begun, self.since = begun, trio.current_time()
        changed, self.changed = self.changed, trio.Event()
        changed.set()


class Waits:
    """Of one machine; `statuses` asks the core for all guests."""

    def __init__(
        self,
        services: Mapping[str, ServiceKeeper],
        statuses: Callable[[], Awaitable[list[core.GuestStatus]]],
        tell: Callable[[events.ServiceEvent, int], None],
    ) -> None:
        self._services = services
        self._statuses = statuses
        self._tell_at = tell
        self._openings: dict[str, Opening] = {}  # by guest

    def heard(self, event: core.Event) -> None:
        """Something happened in the core."""
        if opening := self._openings.get(event.guest):
            opening.heard(event)

    @asynccontextmanager
    async def opening(self, config: core.GuestConfig) -> AsyncIterator[None]:
        """Tell of each device that takes long, while the body has the core create the guest.

        If the body is cancelled the core goes on with it all the same.
        """
        opening = self._openings[config.name] = Opening(config)
        failed: grpc.RpcError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_of_opening, opening)
            try:
                yield
            except grpc.RpcError as error:  # the nursery would wrap it
                failed = error
            nursery.cancel_scope.cancel()
        del self._openings[config.name]
        if failed is not None:
            raise failed

    async def tell_of_guests(self, patience: trio.CancelScope) -> None:
        """For as long as guests are being ended: what each waits for, once."""
        told: set[str] = set()
        while True:
            await trio.sleep(ANSWERING)
            for opening in self._openings.values():
                self._tell_where(opening)
            self._openings.clear()
            for guest in await self._statuses():
                ending = guest.end_reason and guest.state != core.GUEST_ENDED
                for device in guest.devices if ending else ():
                    name = f"{guest.name}/{device.name}"
                    if device.stalled_ms and device.service in self._services and name not in told:
                        told.add(name)
                        service = self._services[device.service].status()
                        about = (service.name, service.pid, service.epoch, name)
                        self._tell(events.DeviceAwaited(*about, _left(patience)))

    async def tell_of_service(self, service: ServiceKeeper, patience: trio.CancelScope) -> None:
        """That it does not close its devices, if it is there for long."""
        await trio.sleep(CLOSING)
        status = service.status()
        if status.pid and service.lives() and not patience.cancel_called:
            about = (service.name, status.pid, status.epoch)
            self._tell(events.ServiceAwaited(*about, _left(patience)))

    async def _tell_of_opening(self, opening: Opening) -> None:
        while True:
            changed = opening.changed
            with trio.move_on_at(opening.since + OPENING):
                await changed.wait()
                continue
            self._tell_where(opening)
            await changed.wait()

    def _tell_where(self, opening: Opening) -> None:
        device = opening.device
        service = self._services.get(device.service) if device else None
        if service and (told := opening.told(service)):
            self._tell(told)

    def _tell(self, event: events.ServiceEvent) -> None:
        self._tell_at(event, time.monotonic_ns())


def _left(patience: trio.CancelScope) -> int:
    return round((patience.deadline - trio.current_time()) * 1e9)
