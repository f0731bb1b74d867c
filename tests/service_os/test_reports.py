"""How far a driver of a real service OS process is with what it does besides."""

import time
from types import SimpleNamespace

import grpc
import pytest

from drivers.interface import Progress
from protos.io_pb2 import ProgressRequest
from protos.io_pb2_grpc import DeviceReportsStub
from service_os.reports import Reports
from tests.service_os.conftest import PATIENCE, TOKEN

SIZE = 4 << 20


def ask(incarnation, stream_name=("guest", "disk0"), token=TOKEN):
    guest, device = stream_name
    request = ProgressRequest(token=token, guest=guest, device=device)
    return DeviceReportsStub(incarnation.channel).Progress(request, timeout=PATIENCE)


def refusal(*arguments, **more):
    with pytest.raises(grpc.RpcError) as raised:
        ask(*arguments, **more)
    return raised.value.code()


def test_a_copy_tells_how_far_it_is(start, tmp_path):
    for name in ("old.img", "new.img"):
        (tmp_path / name).write_bytes((name.encode() * SIZE)[:SIZE])
    incarnation = start()
    spec = f"migrate:source=(file:path={tmp_path}/old.img),target=(file:path={tmp_path}/new.img)"
    assert refusal(incarnation) is grpc.StatusCode.NOT_FOUND
    stream = incarnation.attach("block", spec, guest="guest", device="disk0")
    assert stream.next().HasField("attached")
    end = time.monotonic() + PATIENCE
    while not (reply := ask(incarnation)).complete:
        assert (reply.total, reply.problem) == (SIZE, "")
        assert time.monotonic() < end
    assert (reply.done, reply.total, reply.problem) == (SIZE, SIZE, "")
    assert refusal(incarnation, token="wrong") is grpc.StatusCode.UNAUTHENTICATED
    stream.close()
    assert (tmp_path / "new.img").read_bytes() == (tmp_path / "old.img").read_bytes()


def test_a_problem_is_told_in_one_line_that_no_terminal_obeys():
    progress = Progress(1, 2, problem="red\n\x1b[31m")
    device = SimpleNamespace(progress=lambda: progress)
    sessions = SimpleNamespace(check_token=print, serving=lambda guest, name: device)
    reply = Reports(sessions).Progress(ProgressRequest(), None)
    assert reply.problem == r"red \x1b[31m"


def test_most_drivers_have_nothing_to_tell(start, tmp_path):
    incarnation = start()
    stream = incarnation.attach("block", "null:size=1M", guest="guest", device="disk0")
    assert stream.next().HasField("attached")
    assert refusal(incarnation) is grpc.StatusCode.NOT_FOUND
    stream.close()
