"""The operator's server, over its real socket."""

import grpc
import pytest
import trio

from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.errors import UserError
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.operator import OperatorServer


class Machine:
    """Records what it is asked for."""

    def __init__(self):
        self.stopped = []

    async def status(self):
        return operator.MachineStatus(name="lab")

    async def stop_guest(self, name):
        if name == "broken":
            raise MachineError("the core does not answer")
        if name != "web":
            raise UserError(f"no guest {name!r}")
        self.stopped.append(name)

    async def stop_machine(self):
        self.stopped.append("")

    async def kill_service(self, name):
        return 42, 7


@pytest.fixture
async def served(tmp_path):
    machine = Machine()
    server = OperatorServer(machine, tmp_path / "operator.sock")
    server.start()
    with rpc.channel(tmp_path / "operator.sock") as channel:
        yield machine, operator_grpc.OperatorStub(channel)
    await trio.to_thread.run_sync(server.stop)


async def test_each_call_reaches_the_machine(served):
    machine, stub = served
    assert (await rpc.call(stub.Status, operator.StatusRequest(), 20)).name == "lab"
    reply = await rpc.call(stub.KillService, operator.KillServiceRequest(), 20)
    assert (reply.pid, reply.epoch) == (42, 7)
    await rpc.call(stub.Stop, operator.StopRequest(guest="web"), 20)
    await rpc.call(stub.Stop, operator.StopRequest(), 20)
    assert machine.stopped == ["web", ""]


@pytest.mark.parametrize(
    ("guest", "code", "text"),
    [
        ("wbe", grpc.StatusCode.NOT_FOUND, "no guest 'wbe'"),
        ("broken", grpc.StatusCode.INTERNAL, "the core does not answer"),
    ],
)
async def test_errors_arrive_as_one_line_with_a_status(served, guest, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        await rpc.call(served[1].Stop, operator.StopRequest(guest=guest), 20)
    assert caught.value.code() is code
    assert caught.value.details() == text
