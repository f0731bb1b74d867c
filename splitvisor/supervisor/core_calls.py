"""What a service OS's keeper asks of the core.

A service OS that does not open its devices in time is stuck, and that is found here: the deadline
is shorter than the core's, which would give the device up and leave the process be.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import trio

from protos import core_pb2 as core
from splitvisor.supervisor import rpc

OPEN_DEADLINE = 8.0  # seconds; the core's is 10
REPLAY_DEADLINE = 120.0  # for devices one by one, each with its replay
FAIL_DEADLINE = 10.0
RETRY_DEADLINE = 30.0  # the core gives each of two steps 10
RELEASE_PATIENCE = 5.0  # for what is in flight
RELEASE_MARGIN = 5.0  # for the drivers to close on top of it, and for the answer
LOOK_DEADLINE = 2.0
SWAP_PATIENCE = 5.0  # for what is in flight
SWAP_MARGIN = 40.0  # for a driver to open, another to close, and two to begin


class Calls(Protocol):
    """Each raises grpc.RpcError."""

    async def prepare(self, endpoint: core.ServiceEndpoint) -> core.ConnectReply:
        """Have all devices opened there."""

    async def connect(self, endpoint: core.ServiceEndpoint) -> core.ConnectReply:
        """Have it serve."""

    async def release(self, service: str) -> None:
        """Take all devices back in order."""

    async def fail(self, service: str, devices: Sequence[str], reason: str) -> None:
        """Have the core fail the devices' requests."""

    async def fail_unserved(self, service: str, device: str, reason: str) -> bool:
        """Have the core fail a device's requests, unless it is served by then; whether it does."""

    async def retry(self, service: str, epoch: int, devices: Sequence[str]) -> core.RetryReply:
        """Have devices opened anew by the incarnation that serves."""

    async def swap(self, service: str, device: str, spec: str, idle: bool) -> int:
        """Have another driver serve a device, if `idle` only while its guest has no use for it;
        for how many nanoseconds nobody did.
        """

    async def spec(self, device: str) -> str:
        """Of the driver that a device has; empty if there is no such device."""

    async def pause(self, guest: str, why: str) -> None:
        """Stop a guest's vCPUs for a reason, until it is resumed for each reason."""

    async def resume(self, guest: str, why: str) -> None:
        """The reason is gone."""

    async def stalled_ms(self, device: str) -> int:
        """For how long a device has completed nothing though requests wait."""

    def pid(self) -> int:
        """The core's, 0 if it does not run."""


class CoreCalls:
    """The real ones; `stub` is of the Core service. They wait until `open` was called."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._there = trio.Event()
        self._pid = 0
        self._paused: dict[str, set[str]] = {}  # guests, and for whom

    def open(self, pid: int) -> None:
        """The core serves."""
        self._pid = pid
        self._there.set()

    async def prepare(self, endpoint: core.ServiceEndpoint) -> core.ConnectReply:
        """See Calls."""
        reply: core.ConnectReply = await self._ask(
            self._stub.PrepareService, endpoint, OPEN_DEADLINE
        )
        return reply

    async def connect(self, endpoint: core.ServiceEndpoint) -> core.ConnectReply:
        """See Calls."""
        deadline = REPLAY_DEADLINE if endpoint.one_by_one else OPEN_DEADLINE
        reply: core.ConnectReply = await self._ask(self._stub.ConnectService, endpoint, deadline)
        return reply

    async def release(self, service: str) -> None:
        """See Calls."""
        request = core.ReleaseRequest(name=service, patience_ms=round(RELEASE_PATIENCE * 1000))
        await self._ask(self._stub.ReleaseService, request, RELEASE_PATIENCE + RELEASE_MARGIN)

    async def fail(self, service: str, devices: Sequence[str], reason: str) -> None:
        """See Calls."""
        request = core.FailRequest(service=service, devices=devices, reason=reason)
        await self._ask(self._stub.FailDevices, request, FAIL_DEADLINE)

    async def fail_unserved(self, service: str, device: str, reason: str) -> bool:
        """See Calls."""
        request = core.FailRequest(service=service, devices=[device], reason=reason, unserved=True)
        return bool((await self._ask(self._stub.FailDevices, request, FAIL_DEADLINE)).failed)

    async def retry(self, service: str, epoch: int, devices: Sequence[str]) -> core.RetryReply:
        """See Calls."""
        request = core.RetryRequest(service=service, epoch=epoch, devices=devices)
        reply: core.RetryReply = await self._ask(self._stub.RetryDevices, request, RETRY_DEADLINE)
        return reply

    async def swap(self, service: str, device: str, spec: str, idle: bool) -> int:
        """See Calls."""
        patience_ms = round(SWAP_PATIENCE * 1000)
        request = core.SwapRequest(service=service, device=device, spec=spec, idle=idle)
        request.patience_ms = patience_ms
        reply = await self._ask(self._stub.SwapDriver, request, SWAP_PATIENCE + SWAP_MARGIN)
        return int(reply.waited_us) * 1000

    async def spec(self, device: str) -> str:
        """See Calls."""
        status = await self._device(device)
        return status.spec if status else ""

    async def pause(self, guest: str, why: str) -> None:
        """See Calls."""
        reasons = self._paused.setdefault(guest, set())
        reasons.add(why)
        await self._ask(self._stub.PauseGuest, core.GuestRef(name=guest), LOOK_DEADLINE)

    async def resume(self, guest: str, why: str) -> None:
        """See Calls."""
        reasons = self._paused.get(guest, set())
        reasons.discard(why)
        if not reasons:
            await self._ask(self._stub.ResumeGuest, core.GuestRef(name=guest), LOOK_DEADLINE)

    async def stalled_ms(self, device: str) -> int:
        """See Calls; 0 if there is no such device."""
        status = await self._device(device)
        return int(status.stalled_ms) if status else 0

    def pid(self) -> int:
        """See Calls."""
        return self._pid

    async def _device(self, name: str) -> core.DeviceStatus | None:
        reply: core.GuestList = await self._ask(
            self._stub.ListGuests, core.ListRequest(), LOOK_DEADLINE
        )
        for guest in reply.guests:
            for status in guest.devices:
                if f"{guest.name}/{status.name}" == name:
                    return status
        return None

    async def _ask(self, method: Any, request: Any, deadline: float) -> Any:
        if not self._there.is_set():  # or the call would be made a turn later
            await self._there.wait()
        return await rpc.call(method, request, deadline)


def reason_of(error: grpc.RpcError) -> str:
    """One line for what a call ended with."""
    details = (error.details() or "").strip().replace("\n", " ")
    return details or error.code().name.lower().replace("_", " ")


def problems_of(reply: core.ConnectReply | core.RetryReply) -> tuple[str, ...]:
    """A line for each device that is not there."""
    return tuple(f"{p.guest}/{p.device}: {p.problem}" for p in reply.problems)
