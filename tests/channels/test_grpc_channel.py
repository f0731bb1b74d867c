"""What a service OS says and what the host refuses, as far as others hear of it."""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from channels.grpc_channel import MAX_TEXT, GrpcChannel
from microhypervisor.errors import EnvironmentFault, Refusal
from microhypervisor.events import EventLog
from protos import core_pb2, io_pb2, io_pb2_grpc
from sessions.channel import ChannelClosed
from tests.sessions.scarce import descriptors


class Refusing(io_pb2_grpc.DeviceIoServicer):
    """Refuses every stream with its text."""

    text = ""

    def Serve(self, request_iterator, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.text)


@pytest.fixture
def service(tmp_path):
    """A server that refuses, and where."""
    server, service = grpc.server(ThreadPoolExecutor(1)), Refusing()
    service.address = str(tmp_path / "io")
    io_pb2_grpc.add_DeviceIoServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{service.address}")
    server.start()
    yield service
    server.stop(0).wait()


def channel(address):
    endpoint = core_pb2.ServiceEndpoint(address=address, grant_address=f"{address}.grants")
    return GrpcChannel(None, endpoint, EventLog())


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("no such file: make one", "no such file: make one"),
        ("first\nevent: all is well\r\x1b[2J\u202e", "first event: all is well  [2J"),
        ("x" * 2 * MAX_TEXT, "x" * MAX_TEXT),
        ("señal", "señal"),
        ("\n", "the service OS hung up"),
    ],
)
def test_what_it_says_is_one_line_of_moderate_length(service, said, heard):
    service.text = said
    talk = channel(service.address)
    with pytest.raises(ChannelClosed) as raised:
        list(talk.exchange(iter([io_pb2.CoreMessage()])))
    talk.close()
    assert str(raised.value) == heard
    assert raised.value.refusal is Refusal.WRONG_STATE


def test_that_nobody_answers_is_told_as_what_it_is(tmp_path):
    talk = channel(str(tmp_path / "none"))
    with pytest.raises(ChannelClosed, match=r"^the service OS hung up \(.*\)$") as raised:
        list(talk.exchange(iter([io_pb2.CoreMessage()])))
    talk.close()
    assert raised.value.refusal is Refusal.NOT_CONNECTED


def test_that_the_host_has_no_descriptors_is_no_fault_of_the_service_os(tmp_path):
    talk, window = channel(str(tmp_path / "io")), os.memfd_create("window")
    with descriptors(0), pytest.raises(EnvironmentFault, match="Too many open files"):
        talk.grant(io_pb2.Grant(), window)
    with pytest.raises(ChannelClosed, match="No such file") as raised:
        talk.grant(io_pb2.Grant(), window)
    assert raised.value.refusal is Refusal.NOT_CONNECTED
    talk.close()
    os.close(window)
