"""The operator's server, over its real socket."""

import threading

import grpc
import pytest
import trio

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.errors import UserError
from splitvisor.supervisor import rpc
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.followers import Followers
from splitvisor.supervisor.operator import OperatorServer


class CoreEvents:
    """The core's stream: one event, and no end but by cancel."""

    def __init__(self):
        self.cancelled = threading.Event()

    def initial_metadata(self):
        return ()

    def cancel(self):
        self.cancelled.set()

    def __iter__(self):
        yield core.Event(guest="web")
        self.cancelled.wait()


class Machine:
    """Records what it is asked for."""

    def __init__(self):
        self.stopped = []
        self.followers = Followers()
        self.core_events = CoreEvents()

    async def status(self):
        return operator.MachineStatus(name="lab")

    async def stop_guest(self, name):
        if name == "broken":
            raise MachineError("the core does not answer")
        if name == "exit":
            raise SystemExit(3)
        if name != "web":
            raise UserError(f"no guest {name!r}")
        self.stopped.append(name)

    async def stop_machine(self):
        self.stopped.append("")

    async def kill_service(self, name):
        return 42, 7

    async def upgrade_service(self, name):
        return operator.UpgradeReply(pid=43, epoch=8, pause_ms=1.5)

    async def swap_driver(self, request):
        return operator.SwapDriverReply(pid=43, swap=operator.Swap(new=request.spec))

    async def migrate_disk(self, request):
        return operator.Migration(device=request.device, new=request.spec)

    async def migration(self, device):
        return operator.Migration(device=device, done=5)

    async def abort_migration(self, device):
        return operator.Migration(device=device, state=operator.MIGRATION_ABORTED)

    async def release_device(self, device):
        self.stopped.append(device)

    async def inject_fault(self, request):
        return operator.FaultReply(pid=42, id=request.fault.nth)

    async def list_faults(self, service):
        return operator.ListFaultsReply(faults=[faults.Armed(id=9)])

    async def clear_faults(self, service):
        return operator.ClearFaultsReply(cleared=3)

    def events(self, request):
        return self.core_events


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
    upgraded = await rpc.call(stub.UpgradeService, operator.UpgradeRequest(), 20)
    assert (upgraded.pid, upgraded.epoch, upgraded.pause_ms) == (43, 8, 1.5)
    request = operator.FaultRequest(fault=faults.Fault(nth=5))
    assert (await rpc.call(stub.InjectFault, request, 20)).id == 5
    (armed,) = (await rpc.call(stub.ListFaults, operator.ListFaultsRequest(), 20)).faults
    assert armed.id == 9
    assert (await rpc.call(stub.ClearFaults, operator.ClearFaultsRequest(), 20)).cleared == 3
    moved = await rpc.call(stub.MigrateDisk, operator.MigrateRequest(device="a/b", spec="x"), 20)
    assert (moved.device, moved.new) == ("a/b", "x")
    assert (await rpc.call(stub.GetMigration, operator.MigrationRef(device="a/b"), 20)).done == 5
    ended = await rpc.call(stub.AbortMigration, operator.MigrationRef(device="a/b"), 20)
    assert ended.state == operator.MIGRATION_ABORTED
    await rpc.call(stub.ReleaseDevice, operator.ReleaseDeviceRequest(device="a/b"), 20)
    await rpc.call(stub.Stop, operator.StopRequest(guest="web"), 20)
    await rpc.call(stub.Stop, operator.StopRequest(), 20)
    assert machine.stopped == ["a/b", "web", ""]


@pytest.mark.parametrize(
    ("guest", "code", "text"),
    [
        ("wbe", grpc.StatusCode.NOT_FOUND, "no guest 'wbe'"),
        ("broken", grpc.StatusCode.INTERNAL, "the core does not answer"),
        ("exit", grpc.StatusCode.INTERNAL, "something called for the exit: SystemExit"),
    ],
)
async def test_errors_arrive_as_one_line_with_a_status(served, guest, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        await rpc.call(served[1].Stop, operator.StopRequest(guest=guest), 20)
    assert caught.value.code() is code
    assert caught.value.details() == text


async def test_followers_hear_of_the_core_and_of_service_oses(served):
    machine, stub = served
    async with rpc.stream(stub.Events, core.WatchRequest()) as messages:
        assert (await messages.receive()).core.guest == "web"
        machine.followers.publish(operator.ServiceEvent(service="io"))
        assert (await messages.receive()).service.service == "io"
    assert await trio.to_thread.run_sync(machine.core_events.cancelled.wait, 20)
