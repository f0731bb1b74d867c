"""The channel to a service OS: gRPC on a Unix socket, and another socket for grant windows."""

import socket
from collections.abc import Iterator

import grpc

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import EnvironmentFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.limits import ATTACH_TIMEOUT_S, MAX_MESSAGE
from protos import core_pb2, io_pb2, io_pb2_grpc
from sessions.channel import ChannelClosed

MAX_TEXT = 1000  # characters of what a service OS says of a refusal

_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each device
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 1000),  # the time to connect, too: a loaded host is slow
    ("grpc.max_reconnect_backoff_ms", 200),
]


class GrpcChannel:
    """A Channel over gRPC on a Unix socket."""

    def __init__(
        self, device: ServedDevice, endpoint: core_pb2.ServiceEndpoint, events: EventLog
    ) -> None:
        del device, events
        self._grant_address = endpoint.grant_address
        self._channel = grpc.insecure_channel(f"unix:{endpoint.address}", options=_OPTIONS)
        self._stub = io_pb2_grpc.DeviceIoStub(self._channel)

    def exchange(self, outgoing: Iterator[io_pb2.CoreMessage]) -> Iterator[io_pb2.ServiceMessage]:
        """See Channel."""
        try:
            yield from self._stub.Serve(outgoing)
        except grpc.RpcError as error:
            call = error if isinstance(error, grpc.Call) else None
            gone = call is None or call.code() is grpc.StatusCode.UNAVAILABLE
            text = _one_line(call.details() if call else None)
            if gone or not text:  # then the words are gRPC's
                text = f"the service OS hung up{text and f' ({text})'}"
            refusal = Refusal.NOT_CONNECTED if gone else Refusal.WRONG_STATE
            raise ChannelClosed(text, refusal) from None
        except ValueError:  # what grpcio says when close() won the race
            raise ChannelClosed("closed") from None
        raise ChannelClosed("the service OS ended the stream")

    def grant(self, grant: io_pb2.Grant, fd: int) -> None:
        """See Channel."""
        try:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:  # of this host's making: the service OS may be well
            raise EnvironmentFault(f"cannot hand over the grant window: {error}") from None
        with peer:
            peer.settimeout(ATTACH_TIMEOUT_S)
            try:
                peer.connect(self._grant_address)
                socket.send_fds(peer, [grant.SerializeToString()], [fd])
            except OSError as error:
                text = f"cannot hand over the grant window: {error}"
                raise ChannelClosed(text, Refusal.NOT_CONNECTED) from None

    def close(self) -> None:
        """See Channel."""
        self._channel.close()


def _one_line(text: str | None) -> str:
    """What a stranger says, as it may be shown to an operator."""
    shown = "".join(c if c.isprintable() else " " for c in (text or "")[:MAX_TEXT])
    return shown.strip()
