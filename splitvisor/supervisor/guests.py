"""The guests of a machine: created, loaded and started in the core, and started anew on reset.

What became of a guest is learned from the core's events, and looked up in its list where events
say too little or were missed.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any

import grpc
import trio

from drivers.options import nearest
from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.image.builder import BuiltGuest
from splitvisor.machine import Guest, OnReset
from splitvisor.supervisor import events, rpc
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.plan import Plan

Opening = Callable[[core.GuestConfig], AbstractAsyncContextManager[None]]

BOOTS = 5  # of a guest whose service OS dies each time
CALL_DEADLINE = 30.0  # seconds; creating a guest attaches its devices, on a loaded host
LOOK_AGAIN = 0.1  # seconds; for a core that does not answer


class GuestKeeper:
    """All guests of one machine. `stub` is of the Core service."""

    def __init__(
        self,
        plan: Plan,
        stub: Any,
        services_serving: Callable[[Guest], Awaitable[None]],
        heard: Callable[[core.Event], None],
        report: events.Report,
        opening: Opening = lambda _: nullcontext(),
    ) -> None:
        self._plans = {guest.name: (guest, built) for guest, built in plan.guests}
        self._stub = stub
        self._services_serving = services_serving
        self._heard = heard
        self._report = report
        self._opening = opening  # surrounds each call that has devices opened
        self._ended = {guest.name: trio.Event() for guest, _ in plan.guests}
        self._final: dict[str, core.GuestStatus] = {}
        self._stopping: set[str] = set()  # by an operator: a reset does not start them again
        self._restarting: set[str] = set()  # until they are about to run
        self._look_now = trio.Event()
        self._scheduling = trio.Lock()  # or what one operator leaves out would undo another's word

    async def start(self) -> None:
        """Start all; UserError with the core's reason if one cannot be."""
        for guest, built in self._plans.values():
            try:
                await self._boot(guest, built)
            except grpc.RpcError as error:
                raise rpc.failure(f"guest {guest.name}: the core", error) from None

    async def follow(self, messages: trio.MemoryReceiveChannel[core.Event]) -> None:
        """Handle the core's events as long as there are any."""
        async with trio.open_nursery() as nursery:
            looking = trio.CancelScope()
            nursery.start_soon(self._look, nursery, looking)
            async for event in messages:
                self._heard(event)  # first: it may have to do with a recovery
                self._report(events.GuestEvent(event))
                if event.missed or event.kind == core.EVENT_GUEST_ENDED:
                    self._look_now.set()
            looking.cancel()

    async def _look(self, nursery: trio.Nursery, scope: trio.CancelScope) -> None:
        """See who has ended, once for all that is told while the core answers."""
        with scope:
            while True:
                await self._look_now.wait()
                self._look_now = trio.Event()
                known = frozenset(self._restarting)  # of these the answer may be an old one
                try:
                    statuses = await self._list()
                except grpc.RpcError:
                    self._look_now.set()
                    await trio.sleep(LOOK_AGAIN)
                    continue
                for status in statuses:
                    ours = status.name in self._plans and status.name not in known
                    if ours and status.state == core.GUEST_ENDED:
                        self._end(nursery, status)

    async def statuses(self) -> list[core.GuestStatus]:
        """The core's view of all guests; empty if the core is gone."""
        try:
            return await self._list()
        except grpc.RpcError:
            return []

    async def _list(self) -> list[core.GuestStatus]:
        reply = await rpc.call(self._stub.ListGuests, core.ListRequest(), CALL_DEADLINE)
        return list(reply.guests)

    async def wait(self, name: str) -> core.GuestStatus:
        """What became of a guest, once it has ended for good."""
        await self._ended[name].wait()
        return self._final[name]

    async def wait_all(self) -> list[core.GuestStatus]:
        """What became of all guests, once the last has ended for good."""
        return [await self.wait(name) for name in self._ended]

    async def stop(self, name: str) -> None:
        """End one guest as if its power were cut; UserError if there is none of that name."""
        if name not in self._plans:
            raise UserError(f"no guest {name!r}{nearest(name, self._plans)}")
        if self._ended[name].is_set():
            return
        self._stopping.add(name)
        try:
            await rpc.call(self._stub.StopGuest, core.GuestRef(name=name), CALL_DEADLINE)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:  # it is being restarted: see there
                raise rpc.failure(f"guest {name}: the core", error) from None
        await self.wait(name)

    async def set_schedule(self, request: operator.SetScheduleRequest) -> core.GuestStatus:
        """Schedule a guest's vCPUs otherwise; UserError if that cannot be, or there is none."""
        async with self._scheduling:
            status = await self._status(request.guest)
            if request.vcpu >= len(status.vcpus):
                raise UserError(f"guest {status.name} has vCPUs 0 to {len(status.vcpus) - 1}")
            every = not request.HasField("vcpu")
            before = [v.schedule for v in status.vcpus if every or v.index == request.vcpu]
            after = [altered(schedule, request) for schedule in before]
            if every and all(schedule == after[0] for schedule in after):
                return await self._set(status.name, None, after[0])
            first = 0 if every else request.vcpu
            for index, schedule in enumerate(after, first):
                try:
                    status = await self._set(status.name, index, schedule)
                except UserError:
                    for done in range(index - 1, first - 1, -1):
                        await self._set(status.name, done, before[done - first])
                    raise
            return status

    async def set_balloon(self, request: core.BalloonRequest) -> core.GuestStatus:
        """Take memory from a guest or give it back; UserError if that cannot be."""
        await self._status(request.guest)
        return await self._change(self._stub.SetBalloon, request, request.guest)

    async def _status(self, name: str) -> core.GuestStatus:
        for status in await self.statuses():
            if status.name == name:
                return status
        if name in self._plans:
            raise UserError(f"guest {name} is starting or ending: ask again in a moment")
        raise UserError(f"no guest {name!r}{nearest(name, self._plans)}")

    async def _set(self, name: str, vcpu: int | None, schedule: core.Schedule) -> core.GuestStatus:
        request = core.ScheduleRequest(guest=name, vcpu=vcpu, schedule=schedule)
        return await self._change(self._stub.SetSchedule, request, name)

    async def _change(self, method: Any, request: Any, name: str) -> core.GuestStatus:
        try:
            reply: core.GuestStatus = await rpc.call(method, request, CALL_DEADLINE)
        except grpc.RpcError as error:
            raise rpc.failure(f"guest {name}: the core", error) from None
        return reply

    def swapped(self, name: str, device: str, spec: str) -> None:
        """From now on a device has another driver, also when its guest is started anew."""
        _, built = self._plans[name]
        for config in built.config.devices:
            if config.name == device:
                config.spec = spec

    async def stop_all(self) -> None:
        """End every guest that has not; failures do not matter any more."""
        for name, ended in self._ended.items():
            if not ended.is_set():
                try:
                    await rpc.call(self._stub.StopGuest, core.GuestRef(name=name), CALL_DEADLINE)
                except grpc.RpcError:
                    continue

    async def _boot(self, guest: Guest, built: BuiltGuest) -> None:
        reference = core.GuestRef(name=built.config.name)
        for attempt in range(1, BOOTS + 1):
            await self._services_serving(guest)
            try:
                async with self._opening(built.config):
                    await rpc.call(self._stub.CreateGuest, built.config, CALL_DEADLINE)
                break
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                if attempt == BOOTS:
                    raise UserError(
                        f"guest {guest.name}: a service OS died {BOOTS} times in a row while its "
                        f"devices were opened, the last time with this: {error.details()}"
                    ) from None
                # Again when the next one serves.
        await rpc.call(self._stub.LoadGuest, built.chunks(), CALL_DEADLINE)
        self._restarting.discard(guest.name)
        await rpc.call(self._stub.StartGuest, reference, CALL_DEADLINE)

    def _end(self, nursery: trio.Nursery, status: core.GuestStatus) -> None:
        guest, built = self._plans[status.name]
        if self._ended[guest.name].is_set():
            return
        again = guest.on_reset is OnReset.RESTART and guest.name not in self._stopping
        if status.end_reason == core.END_RESET and again:
            self._restarting.add(guest.name)
            nursery.start_soon(self._restart, guest, built, status)
        else:
            self._settle(status)

    def _settle(self, status: core.GuestStatus) -> None:
        self._final[status.name] = status
        self._ended[status.name].set()

    async def _restart(self, guest: Guest, built: BuiltGuest, last: core.GuestStatus) -> None:
        reference = core.GuestRef(name=guest.name)
        try:
            await rpc.call(self._stub.DestroyGuest, reference, CALL_DEADLINE)
            if guest.name in self._stopping:
                self._settle(last)
                return
            await self._boot(guest, built)
            self._report(events.GuestRestarted(guest.name))
            if guest.name in self._stopping:
                await rpc.call(self._stub.StopGuest, reference, CALL_DEADLINE)
        except grpc.RpcError as error:
            await self._give_up(last, str(rpc.failure("the core", error)))
        except (UserError, MachineError) as error:
            await self._give_up(last, str(error))

    async def _give_up(self, last: core.GuestStatus, why: str) -> None:
        """It is not started anew, and others go on; without a core, the machine does not."""
        while True:
            with suppress(grpc.RpcError):
                await self._list()
                break
            await trio.sleep(LOOK_AGAIN)
        why = why.removeprefix(f"guest {last.name}: ")
        self._report(events.GuestNotRestarted(last.name, why))
        self._settle(last)


def altered(schedule: core.Schedule, request: operator.SetScheduleRequest) -> core.Schedule:
    """The schedule with what is asked for; what is left out stays as it is."""
    wanted = core.Schedule()
    wanted.CopyFrom(schedule)
    for name in ("weight", "cap", "budget_ns", "period_ns"):
        if request.HasField(name):
            setattr(wanted, name, getattr(request, name))
    if request.HasField("affinity"):
        del wanted.affinity[:]
        wanted.affinity.extend(request.affinity.pcpus)
    return wanted
