"""Calls from trio to a real gRPC server on a Unix socket."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import trio

from protos import core_pb2 as core
from protos import core_pb2_grpc as core_grpc
from splitvisor.errors import UserError
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError


class Server(core_grpc.CoreServicer):
    """Answers some calls of the core's contract."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.entered = threading.Event()

    def Describe(self, request, context):
        return core.CoreDescription(pid=7)

    def LoadGuest(self, request_iterator, context):
        return core.GuestStatus(memory=sum(len(chunk.data) for chunk in request_iterator))

    def StopGuest(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, f"no guest {request.name}")

    def PauseGuest(self, request, context):
        context.add_callback(self.cancelled.set)
        self.entered.set()
        self.cancelled.wait(20)
        return core.GuestStatus()

    def WatchEvents(self, request, context):
        context.add_callback(self.cancelled.set)
        context.send_initial_metadata(())
        for count in range(3):
            yield core.Event(count=count)
        self.cancelled.wait(20)


@pytest.fixture
def peer(tmp_path):
    servicer = Server()
    server = grpc.server(ThreadPoolExecutor(4))
    core_grpc.add_CoreServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with rpc.channel(tmp_path / "s") as channel:
        yield servicer, core_grpc.CoreStub(channel)
    server.stop(0).wait()


async def test_a_call_is_answered(peer):
    assert (await rpc.call(peer[1].Describe, core.DescribeRequest(), 20)).pid == 7


async def test_chunks_as_large_as_the_contract_allows_are_streamed(peer):
    chunks = (core.MemoryChunk(data=bytes(2 << 20)) for _ in range(5))
    assert (await rpc.call(peer[1].LoadGuest, chunks, 20)).memory == 10 << 20


async def test_a_refusal_becomes_a_line_for_the_user(peer):
    with pytest.raises(grpc.RpcError) as caught:
        await rpc.call(peer[1].StopGuest, core.GuestRef(name="x"), 20)
    error = rpc.failure("the core", caught.value)
    assert isinstance(error, UserError)
    assert str(error) == "no guest x"


async def test_a_peer_that_is_not_there_fails_the_machine(tmp_path):
    with rpc.channel(tmp_path / "nobody") as channel:
        stub = core_grpc.CoreStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            await rpc.call(stub.Describe, core.DescribeRequest(), 20)
    error = rpc.failure("the core", caught.value)
    assert isinstance(error, MachineError)
    assert str(error).startswith("the core cannot be reached")


async def test_cancelling_the_task_cancels_the_call(peer):
    servicer, stub = peer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rpc.call, stub.PauseGuest, core.GuestRef(), 60)
        await trio.to_thread.run_sync(servicer.entered.wait)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(servicer.cancelled.wait, 20)


async def test_a_stream_brings_messages_in_order_and_is_cancelled_in_the_end(peer):
    servicer, stub = peer
    async with rpc.stream(stub.WatchEvents, core.WatchRequest()) as messages:
        assert [(await messages.receive()).count for _ in range(3)] == [0, 1, 2]
    assert await trio.to_thread.run_sync(servicer.cancelled.wait, 20)


async def test_a_stream_that_cannot_begin_ends_at_once(tmp_path):
    with rpc.channel(tmp_path / "nobody") as channel:
        stub = core_grpc.CoreStub(channel)
        async with rpc.stream(stub.WatchEvents, core.WatchRequest()) as messages:
            assert [message async for message in messages] == []
