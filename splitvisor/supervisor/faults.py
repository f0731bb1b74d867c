"""Injecting faults into a service OS: signals, and faults that its failpoints carry out.

A fault belongs to one incarnation. One that is to be in every incarnation is kept here and armed
again in each that follows, before anything is attached to it.
"""

from pathlib import Path
from typing import Any

import grpc

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import faults_pb2_grpc as faults_grpc
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError

ANSWER = 5.0  # seconds; an incarnation that hangs may have no answer to give


def is_signal(fault: faults.Fault) -> bool:
    """Whether it needs no failpoint."""
    return fault.action in (faults.KILL, faults.STOP) and fault.point == faults.ANYWHERE


class Lasting:
    """Faults of one service OS that every later incarnation is to have as well."""

    def __init__(self) -> None:
        self._faults: list[faults.Fault] = []

    def add(self, fault: faults.Fault) -> None:
        """One more."""
        self._faults.append(fault)

    def clear(self) -> None:
        """There are none any more."""
        self._faults.clear()

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


async def disarm(endpoint: core.ServiceEndpoint) -> int:
    """Take all away; how many."""
    request = faults.ClearRequest(token=endpoint.token)
    return int((await _ask(endpoint, "Clear", request)).cleared)


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
