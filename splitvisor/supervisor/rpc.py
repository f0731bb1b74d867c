"""gRPC calls from trio tasks.

gRPC knows nothing of trio, so a call runs on gRPC's own threads and wakes the task that waits for
it. Cancelling the task cancels the call.
"""

import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import trio

from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError

MESSAGE_LIMIT = 16 << 20  # a chunk of guest memory is 2 MiB; the rest is far smaller
_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    # A peer on this host is there or it is not: the default back-off costs seconds.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 1000),  # the time to connect, too: a loaded host is slow
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_http_proxy", 0),
)
# What a peer says with these is meant for the user and stands for itself.
_USERS_FAULT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def channel(path: Path) -> grpc.Channel:
    """A channel to the server on the Unix socket at `path`."""
    return grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)


async def call(
    method: Any, request: Any, timeout: float | None = None, *, patient: bool = False
) -> Any:
    """The answer of a unary or client-streaming method; raises grpc.RpcError.

    A `patient` call tries to reach the peer for as long as it may take.
    """
    token = trio.lowlevel.current_trio_token()
    answered = trio.Event()
    future = method.future(request, timeout=timeout, wait_for_ready=patient)

    def wake(_: Any) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(answered.set)

    future.add_done_callback(wake)
    try:
        await answered.wait()
    except trio.Cancelled:
        future.cancel()
        raise
    return future.result()


@asynccontextmanager
async def stream(method: Any, request: Any) -> AsyncIterator[trio.MemoryReceiveChannel[Any]]:
    """The messages of a server-streaming method; the channel ends where the stream ends.

    The server has taken the call when the body begins: it sends its initial metadata then.
    """
    token = trio.lowlevel.current_trio_token()
    sender, receiver = trio.open_memory_channel[Any](math.inf)
    taken = trio.Event()
    messages = method(request)

    def put(message: Any) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            sender.send_nowait(message)

    def in_trio(function: Callable[..., None], *arguments: Any) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(function, *arguments)

    def pump() -> None:
        with suppress(grpc.RpcError):
            messages.initial_metadata()
            in_trio(taken.set)
            for message in messages:
                in_trio(put, message)
        in_trio(taken.set)
        in_trio(sender.close)

    thread = threading.Thread(target=pump, name="grpc-stream")
    thread.start()
    try:
        with receiver:
            await taken.wait()
            yield receiver
    finally:
        messages.cancel()
        thread.join()


def failure(who: str, error: grpc.RpcError) -> UserError | MachineError:
    """The error to raise for what a call to `who` ended with; one line."""
    code, details = error.code(), (error.details() or "").strip().replace("\n", " ")
    if code in _USERS_FAULT:
        return UserError(details)
    if code is grpc.StatusCode.UNAVAILABLE:
        return MachineError(f"{who} cannot be reached: {details}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return MachineError(f"{who} does not answer")
    return MachineError(f"{who} failed ({code.name.lower().replace('_', ' ')}): {details}")
