"""The floor under everything: 64 bytes there and back on a bare gRPC stream between processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import grpc

METHOD = "/echo/Echo"
PAYLOAD = bytes(64)


def _identity(message: bytes) -> bytes:
    return message


def serve(address: str, ready: int) -> None:
    """Answer on `address` until standard input ends; writes a byte to `ready` when serving."""

    def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        del context
        yield from requests

    handler = grpc.stream_stream_rpc_method_handler(echo, _identity, _identity)
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_registered_method_handlers("echo", {"Echo": handler})
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("echo", {"Echo": handler}),)
    )
    server.add_insecure_port(address)
    server.start()
    os.write(ready, b"\n")
    sys.stdin.read()
    server.stop(None)


def round_trips(count: int) -> list[float]:
    """Seconds of each of `count` round trips, after a tenth as many to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'echo.sock'}"
        ready, inherited = os.pipe()
        command = [sys.executable, "-m", "benchmarks.echo", address, str(inherited)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(inherited,)) as server:
            os.close(inherited)
            os.read(ready, 1)
            os.close(ready)
            try:
                return _measure(address, count)
            finally:
                assert server.stdin is not None
                server.stdin.close()


def _measure(address: str, count: int) -> list[float]:
    outgoing: SimpleQueue[bytes | None] = SimpleQueue()
    times: list[float] = []
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD, _identity, _identity)
        answers = call(iter(outgoing.get, None), wait_for_ready=True)
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            outgoing.put(PAYLOAD)
            next(answers)
            times.append(time.perf_counter() - begun)
        outgoing.put(None)
    return times[count // 10 :]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
