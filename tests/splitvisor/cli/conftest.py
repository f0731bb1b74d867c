"""A machine's operator socket that notes what commands ask and answers what the test says."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.cli.main import main
from splitvisor.supervisor.run_directory import claim


class Operator(operator_grpc.OperatorServicer):
    """`asked` has the requests; a `refusal` is a status and a line instead of an answer."""

    def __init__(self):
        self.asked = []
        self.refusal = None
        self.status = operator.MachineStatus(name="lab")
        self.guest = core.GuestStatus(name="web")
        self.scheduler = core.SchedulerStatus()
        self.events = []
        self.armed = {}  # faults by service OS
        self.migrations = []  # as they are, one for each time that is asked
        self.upgraded = threading.Event()  # until then an upgrade takes
        self.upgraded.set()

    def _note(self, request, context):
        self.asked.append(request)
        if self.refusal:
            context.abort(*self.refusal)

    def Status(self, request, context):
        return self.status

    def KillService(self, request, context):
        self._note(request, context)
        return operator.KillServiceReply(pid=7, epoch=1)

    def UpgradeService(self, request, context):
        self._note(request, context)
        self.upgraded.wait(5)  # seconds: a client that says nothing is not waited for
        return operator.UpgradeReply(pid=9, epoch=3, pause_ms=12.34)

    def SwapDriver(self, request, context):
        self._note(request, context)
        swap = operator.Swap(old="file:path=a.img", new=request.spec, pause_ms=3.14)
        return operator.SwapDriverReply(pid=9, epoch=3, swap=swap)

    def MigrateDisk(self, request, context):
        self._note(request, context)
        return self.migrations.pop(0)

    def GetMigration(self, request, context):
        self._note(request, context)
        return self.migrations.pop(0)

    def AbortMigration(self, request, context):
        self._note(request, context)
        return self.migrations.pop(0)

    def ReleaseDevice(self, request, context):
        self._note(request, context)
        return operator.ReleaseDeviceReply()

    def InjectFault(self, request, context):
        self._note(request, context)
        signal = request.fault.action in (faults.KILL, faults.STOP) and not request.fault.point
        return operator.FaultReply(pid=7, epoch=1, id=0 if signal else 4)

    def ListFaults(self, request, context):
        self._note(request, context)
        return operator.ListFaultsReply(faults=self.armed.get(request.service, []))

    def ClearFaults(self, request, context):
        self._note(request, context)
        return operator.ClearFaultsReply(cleared=len(self.armed.pop(request.service, [])))

    def SetPolicy(self, request, context):
        self._note(request, context)
        return self.scheduler

    def SetSchedule(self, request, context):
        self._note(request, context)
        return self.guest

    def SetBalloon(self, request, context):
        self._note(request, context)
        return self.guest

    def Events(self, request, context):
        self._note(request, context)
        yield from self.events


@pytest.fixture
def lab(tmp_path):
    """The operator of a machine `lab` under `tmp_path`."""
    operated = Operator()
    with claim(tmp_path, "lab", ("service",)) as directory:
        server = grpc.server(ThreadPoolExecutor(2))
        operator_grpc.add_OperatorServicer_to_server(operated, server)
        server.add_insecure_port(f"unix:{directory.operator_socket}")
        server.start()
        yield operated
        server.stop(None).wait()


@pytest.fixture
def splitvisor(tmp_path, capsys):
    """Run a command: exit status, standard output, standard error."""

    def run(*arguments):
        status = main(["--run-root", str(tmp_path), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
