"""Injecting faults into a service OS: signals, and faults that its failpoints carry out.

A fault belongs to one incarnation. One that is to be in every incarnation is kept here and armed
again in each that follows, before anything is attached to it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from drivers.options import nearest
from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import faults_pb2_grpc as faults_grpc
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.machine import Guest, ServiceSettings
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError

ANSWER = 5.0  # seconds; an incarnation that hangs may have no answer to give


def service_of(guests: Sequence[Guest], fault: faults.Fault, service: str) -> str:
    """The service OS that is to misbehave: `service`, or if that is "" the one that is meant.

    "" if that is still open; UserError if `service` does not serve the device of the fault.
    """
    if not fault.device:
        return service
    known = {f"{guest.name}/{one.name}": one.service for guest in guests for one in guest.devices}
    own = {
        known[f"{guest.name}/{fault.device}"]
        for guest in guests
        if fault.guest in ("", guest.name) and f"{guest.name}/{fault.device}" in known
    }
    device = f"{fault.guest}/{fault.device}" if fault.guest else fault.device
    if not own:
        raise UserError(f"no device {device!r} that a service OS serves{nearest(device, known)}")
    if service and service not in own:
        right = " or ".join(sorted(own))
        raise UserError(f"device {device} is served by service OS {right}, not by {service}")
    return service or (own.pop() if len(own) == 1 else "")


def is_signal(fault: faults.Fault) -> bool:
    """Whether it needs no failpoint."""
    return fault.action in (faults.KILL, faults.STOP) and fault.point == faults.ANYWHERE


def check_failpoints(service: str, settings: ServiceSettings) -> None:
    """UserError unless a service OS has failpoints."""
    if not settings.failpoints:
        raise UserError(
            f"service OS {service} has no failpoints: start it with 'failpoints = true' in "
            f"[services.{service}], or with --failpoints"
        )


class Lasting:
    """Faults of one service OS that every later incarnation is to have as well."""

    def __init__(self) -> None:
        self._faults: list[faults.Fault] = []

    def add(self, fault: faults.Fault) -> None:
        """One more."""
        self._faults.append(fault)

    def remove(self, fault: faults.Fault) -> None:
        """One less."""
        self._faults.remove(fault)

    def clear(self) -> int:
        """There are none any more; how many there were."""
        count = len(self._faults)
        self._faults.clear()
        return count

    async def arm(self, endpoint: core.ServiceEndpoint) -> None:
        """Put all into an incarnation; UserError or MachineError if it does not take one."""
        for fault in self._faults:
            await arm(endpoint, fault)


async def arm(endpoint: core.ServiceEndpoint, fault: faults.Fault) -> int:
    """Put a fault into an incarnation; its id there."""
    request = faults.ArmRequest(token=endpoint.token, fault=fault)
    return int((await _ask(endpoint, "Arm", request)).id)


async def armed(endpoint: core.ServiceEndpoint) -> list[faults.Armed]:
    """The faults of an incarnation."""
    request = faults.ListRequest(token=endpoint.token)
    return list((await _ask(endpoint, "List", request)).faults)


async def disarm(endpoint: core.ServiceEndpoint) -> None:
    """Take all away."""
    await _ask(endpoint, "Clear", faults.ClearRequest(token=endpoint.token))


def describe(request: operator.FaultRequest) -> str:
    """One line for those who watch."""
    fault = request.fault
    words = [faults.Action.Name(fault.action).lower()]
    if fault.point != faults.ANYWHERE:
        words.append(f"at {faults.Point.Name(fault.point).lower().replace('_', ' ')}")
    if fault.guest or fault.device:
        words.append(f"of {fault.guest or '*'}/{fault.device or '*'}")
    return " ".join(words)


async def _ask(endpoint: core.ServiceEndpoint, method: str, request: Any) -> Any:
    who = f"service OS {endpoint.name} (epoch {endpoint.epoch})"
    with rpc.channel(Path(endpoint.address)) as channel:
        stub: Any = faults_grpc.FaultsStub(channel)
        try:
            return await rpc.call(getattr(stub, method), request, ANSWER, patient=True)
        except grpc.RpcError as error:
            failure = rpc.failure(who, error)
            if isinstance(failure, MachineError):  # it is dying, say: the machine goes on
                raise UserError(str(failure)) from None
            raise failure from None
