"""Asking a service OS what its drivers do of their own accord."""

from pathlib import Path
from typing import Any

import grpc

from protos import core_pb2 as core
from protos.io_pb2 import ProgressReply, ProgressRequest
from protos.io_pb2_grpc import DeviceReportsStub
from splitvisor.supervisor import rpc

ANSWER = 5.0  # seconds


async def progress(endpoint: core.ServiceEndpoint, device: str) -> ProgressReply | None:
    """Of guest/device; None if it has nothing to tell, or the incarnation no answer."""
    guest, _, name = device.partition("/")
    request = ProgressRequest(token=endpoint.token, guest=guest, device=name)
    with rpc.channel(Path(endpoint.address)) as channel:
        stub: Any = DeviceReportsStub(channel)
        try:
            reply: ProgressReply = await rpc.call(stub.Progress, request, ANSWER, patient=True)
        except grpc.RpcError:
            return None
        return reply
