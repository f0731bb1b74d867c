"""The gRPC server: DeviceIo, health, reflection, on one Unix socket."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.io_pb2 import DESCRIPTOR
from protos.io_pb2_grpc import add_DeviceIoServicer_to_server
from service_os.session import Sessions

# A stream occupies a thread of the pool for all its life. Threads are made when they are needed,
# so a generous number costs nothing; beyond it a call is refused instead of waiting for ever.
STREAMS = 256
CONTROL_CALLS = 16

# The core, which sends what is received here, is trusted and bounds its batches itself.
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


def serve_io(sessions: Sessions, path: Path) -> Callable[[], None]:
    """Serve at `path`; a function that ends all streams and waits until their devices are closed.

    Raises RuntimeError if the socket cannot be bound.
    """
    pool = ThreadPoolExecutor(STREAMS + CONTROL_CALLS, thread_name_prefix="stream")
    server = grpc.server(pool, options=OPTIONS, maximum_concurrent_rpcs=STREAMS + CONTROL_CALLS)
    add_DeviceIoServicer_to_server(sessions, server)
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    service = DESCRIPTOR.services_by_name["DeviceIo"].full_name
    status.set(service, health_pb2.HealthCheckResponse.SERVING)
    names = (service, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_insecure_port(f"unix:{path}")
    server.start()

    def stop() -> None:
        status.enter_graceful_shutdown()
        server.stop(grace=0).wait()
        pool.shutdown(wait=True)

    return stop
