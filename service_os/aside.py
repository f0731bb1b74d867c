"""Health and reflection, for whoever comes with a gRPC tool: loaded when somebody first asks."""

from collections.abc import Sequence
from typing import Any

import grpc

PREFIXES = ("/grpc.health.", "/grpc.reflection.")


class Aside(grpc.GenericRpcHandler):
    """Answers for the services that are named in full."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._loaded: _Collector | None = None

    def service(self, handler_call_details: Any) -> Any:
        """See grpc.GenericRpcHandler."""
        if not handler_call_details.method.startswith(PREFIXES):
            return None
        if self._loaded is None:
            self._loaded = _load(self._names)
        found = (handler.service(handler_call_details) for handler in self._loaded.handlers)
        return next((handler for handler in found if handler), None)


class _Collector:
    """Stands where generated code wants a server, and keeps what it would have added."""

    def __init__(self) -> None:
        self.handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self.handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Another way to the same."""


def _load(names: Sequence[str]) -> _Collector:
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # noqa: PLC0415
    from grpc_reflection.v1alpha import reflection  # noqa: PLC0415

    collector = _Collector()
    status = health.HealthServicer()
    for name in names:
        status.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, collector)
    known = (*names, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(known, collector)
    return collector
