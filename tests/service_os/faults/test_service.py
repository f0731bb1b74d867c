"""Arming, listing and clearing over gRPC."""

import os
import signal

import grpc
import pytest

from protos import faults_pb2 as faults
from protos.faults_pb2 import ArmRequest, ClearRequest, Fault, ListRequest
from protos.faults_pb2_grpc import FaultsStub

PATIENCE = 60


def test_without_failpoints_there_is_no_such_service(start):
    stub = FaultsStub(start().channel)
    with pytest.raises(grpc.RpcError) as raised:
        stub.List(ListRequest(token="secret"), timeout=PATIENCE)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_who_does_not_know_the_token_is_refused(subject):
    stub = subject.stub
    for call, request in (
        (stub.Arm, ArmRequest(token="guess", fault=Fault(action=faults.KILL))),
        (stub.List, ListRequest(token="guess")),
        (stub.Clear, ClearRequest()),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call(request, timeout=PATIENCE)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert subject.incarnation.process.poll() is None


def test_nonsense_is_refused_in_one_line(subject):
    with pytest.raises(grpc.RpcError) as raised:
        subject.arm(action=faults.HANG)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "hang needs a point: name one but anywhere"


def test_faults_are_listed_with_what_they_did_and_cleared(subject, disk):
    assert subject.arm(action=faults.DROP, point=faults.BEFORE_REPLY, nth=2, times=1) == 1
    assert subject.arm(action=faults.KILL, point=faults.CLOSING) == 2
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    for first, answered in ((0, True), (2, False), (4, True)):
        stream.submit(*disk.batch(first))
        if answered:
            stream.completions()
    assert [(f.id, f.passed, f.acted) for f in subject.listed()] == [(1, 3, 1), (2, 0, 0)]
    assert subject.stub.Clear(ClearRequest(token="secret"), timeout=PATIENCE).cleared == 2
    assert list(subject.listed()) == []
    stream.close()


@pytest.mark.parametrize(("action", "status"), [(faults.KILL, -signal.SIGKILL), (faults.EXIT, 1)])
def test_what_ends_it_at_once_is_answered_first(subject, action, status):
    assert subject.arm(action=action) == 1
    assert subject.incarnation.process.wait(PATIENCE) == status


def test_it_stops_at_once(subject):
    assert subject.arm(action=faults.STOP) == 1
    pid = subject.incarnation.process.pid
    stopped = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert stopped.si_code == os.CLD_STOPPED


def test_spinning_at_once_leaves_devices_served_slowly(subject, disk):
    subject.arm(action=faults.SPIN)
    stream = subject.incarnation.attach(disk.model, disk.spec)
    stream.next()
    stream.submit(*disk.batch(0))
    answered = 0
    while answered < 2:  # in one reply, or one each
        answered += len(stream.completions().completions)
