"""The gRPC server on one Unix socket: DeviceIo, DeviceReports, and what else there is to serve."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from protos.io_pb2 import DESCRIPTOR
from protos.io_pb2_grpc import add_DeviceIoServicer_to_server, add_DeviceReportsServicer_to_server
from service_os.aside import Aside
from service_os.reports import Reports
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


AddMore = Callable[[grpc.Server], str] | None  # adds another service; its full name


def serve_io(sessions: Sessions, path: Path, add_more: AddMore = None) -> Callable[[], None]:
    """Serve at `path`; a function that ends all streams and waits until their devices are closed.

    Raises RuntimeError if the socket
    cannot be bound.
    """
    pool = ThreadPoolExecutor(STREAMS + CONTROL_CALLS, thread_name_prefix="stream")
    server = grpc.server(pool, options=OPTIONS, maximum_concurrent_rpcs=STREAMS + CONTROL_CALLS)
    add_DeviceIoServicer_to_server(sessions, server)
    add_DeviceReportsServicer_to_server(Reports(sessions), server)
    names = [DESCRIPTOR.services_by_name[one].full_name for one in ("DeviceIo", "DeviceReports")]
    if add_more:
        names.append(add_more(server))
    server.add_generic_rpc_handlers((Aside(names),))
    server.add_insecure_port(f"unix:{path}")
    server.start()

    def stop() -> None:
        server.stop(grace=0).wait()
        pool.shutdown(wait=True)

    return stop
