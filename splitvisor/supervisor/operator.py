"""The operator's server: protos/operator.proto on the machine's operator socket.

Requests arrive on gRPC's threads and are carried out in trio, where the supervisor lives.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.errors import UserError
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.followers import Follower, Followers

THREADS = 8  # operators at once; a waiting Stop holds one
FOLLOWERS = 4  # of events; each holds one of the threads, and a watcher of the core's
STOP_GRACE = 1.0  # seconds for answers that are on their way

_Reply = TypeVar("_Reply")


class Operated(Protocol):
    """What the server needs of a supervisor."""

    async def status(self) -> operator.MachineStatus:
        """Of the whole machine."""

    async def stop_guest(self, name: str) -> None:
        """Come back when it has ended."""

    async def stop_machine(self) -> None:
        """Come back when all its processes are gone."""

    async def kill_service(self, name: str) -> tuple[int, int]:
        """The pid and epoch of the incarnation that was killed."""

    async def set_policy(self, request: core.PolicyConfig) -> core.SchedulerStatus:
        """Have another policy schedule all vCPUs."""

    async def set_schedule(self, request: operator.SetScheduleRequest) -> core.GuestStatus:
        """Schedule a guest's vCPUs otherwise."""

    async def set_balloon(self, request: core.BalloonRequest) -> core.GuestStatus:
        """Take memory from a guest, or give it back."""

    async def upgrade_service(self, name: str) -> operator.UpgradeReply:
        """Move all devices of a service OS to a fresh incarnation."""

    async def swap_driver(self, request: operator.SwapDriverRequest) -> operator.SwapDriverReply:
        """Have another driver serve a device."""

    async def migrate_disk(self, request: operator.MigrateRequest) -> operator.Migration:
        """Begin to move a disk to another driver."""

    async def migration(self, device: str) -> operator.Migration:
        """The last one of a device."""

    async def abort_migration(self, device: str) -> operator.Migration:
        """End the one of a device; come back when it has ended."""

    async def release_device(self, device: str) -> None:
        """Take a device (guest/device) out of quarantine."""

    async def inject_fault(self, request: operator.FaultRequest) -> operator.FaultReply:
        """Make a service OS misbehave."""

    async def list_faults(self, service: str) -> operator.ListFaultsReply:
        """The faults that wait in the incarnation that serves."""

    async def clear_faults(self, service: str) -> operator.ClearFaultsReply:
        """Take the faults away."""

    @property
    def followers(self) -> Followers:
        """Who follows what happens to service OSes."""

    def events(self, request: core.WatchRequest) -> Any:
        """The core's events from now on: a gRPC call to iterate, or cancel."""


class OperatorServer(operator_grpc.OperatorServicer):
    """Serves from `start` to `stop`."""

    def __init__(self, operated: Operated, path: Path) -> None:
        self._operated = operated
        self._path = path
        self._followers = threading.Semaphore(FOLLOWERS)
        self._token = trio.lowlevel.current_trio_token()
        self._server = grpc.server(ThreadPoolExecutor(THREADS))
        operator_grpc.add_OperatorServicer_to_server(self, self._server)

    def start(self) -> None:
        """Listen."""
        self._server.add_insecure_port(f"unix:{self._path}")
        self._server.start()

    def stop(self) -> None:
        """Let answers that are on their way go out, then close. Blocks; call it off trio."""
        self._server.stop(STOP_GRACE).wait()

    def Status(
        self, request: operator.StatusRequest, context: grpc.ServicerContext
    ) -> operator.MachineStatus:
        """See operator.proto."""
        return self._in_trio(context, self._operated.status)

    def Stop(
        self, request: operator.StopRequest, context: grpc.ServicerContext
    ) -> operator.StopReply:
        """See operator.proto."""
        if request.guest:
            self._in_trio(context, self._operated.stop_guest, request.guest)
        else:
            self._in_trio(context, self._operated.stop_machine)
        return operator.StopReply()

    def KillService(
        self, request: operator.KillServiceRequest, context: grpc.ServicerContext
    ) -> operator.KillServiceReply:
        """See operator.proto."""
        pid, epoch = self._in_trio(context, self._operated.kill_service, request.name)
        return operator.KillServiceReply(pid=pid, epoch=epoch)

    def UpgradeService(
        self, request: operator.UpgradeRequest, context: grpc.ServicerContext
    ) -> operator.UpgradeReply:
        """See operator.proto."""
        return self._in_trio(context, self._operated.upgrade_service, request.name)

    def SwapDriver(
        self, request: operator.SwapDriverRequest, context: grpc.ServicerContext
    ) -> operator.SwapDriverReply:
        """See operator.proto."""
        return self._in_trio(context, self._operated.swap_driver, request)

    def MigrateDisk(
        self, request: operator.MigrateRequest, context: grpc.ServicerContext
    ) -> operator.Migration:
        """See operator.proto."""
        return self._in_trio(context, self._operated.migrate_disk, request)

    def GetMigration(
        self, request: operator.MigrationRef, context: grpc.ServicerContext
    ) -> operator.Migration:
        """See operator.proto."""
        return self._in_trio(context, self._operated.migration, request.device)

    def AbortMigration(
        self, request: operator.MigrationRef, context: grpc.ServicerContext
    ) -> operator.Migration:
        """See operator.proto."""
        return self._in_trio(context, self._operated.abort_migration, request.device)

    def ReleaseDevice(
        self, request: operator.ReleaseDeviceRequest, context: grpc.ServicerContext
    ) -> operator.ReleaseDeviceReply:
        """See operator.proto."""
        self._in_trio(context, self._operated.release_device, request.device)
        return operator.ReleaseDeviceReply()

    def InjectFault(
        self, request: operator.FaultRequest, context: grpc.ServicerContext
    ) -> operator.FaultReply:
        """See operator.proto."""
        return self._in_trio(context, self._operated.inject_fault, request)

    def ListFaults(
        self, request: operator.ListFaultsRequest, context: grpc.ServicerContext
    ) -> operator.ListFaultsReply:
        """See operator.proto."""
        return self._in_trio(context, self._operated.list_faults, request.service)

    def ClearFaults(
        self, request: operator.ClearFaultsRequest, context: grpc.ServicerContext
    ) -> operator.ClearFaultsReply:
        """See operator.proto."""
        return self._in_trio(context, self._operated.clear_faults, request.service)

    def SetPolicy(
        self, request: core.PolicyConfig, context: grpc.ServicerContext
    ) -> core.SchedulerStatus:
        """See operator.proto."""
        return self._in_trio(context, self._operated.set_policy, request)

    def SetSchedule(
        self, request: operator.SetScheduleRequest, context: grpc.ServicerContext
    ) -> core.GuestStatus:
        """See operator.proto."""
        return self._in_trio(context, self._operated.set_schedule, request)

    def SetBalloon(
        self, request: core.BalloonRequest, context: grpc.ServicerContext
    ) -> core.GuestStatus:
        """See operator.proto."""
        return self._in_trio(context, self._operated.set_balloon, request)

    def Events(
        self, request: core.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[operator.MachineEvent]:
        """See operator.proto."""
        if not self._followers.acquire(blocking=False):
            text = f"{FOLLOWERS} follow this machine's events already: end one"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            messages = self._operated.events(request)
            with self._operated.followers.follow() as follower:
                if not context.add_callback(messages.cancel):  # it is over already
                    messages.cancel()
                messages.initial_metadata()
                context.send_initial_metadata(())  # it has begun: what follows is not missed
                pump = threading.Thread(target=_pump, args=(messages, follower), daemon=True)
                pump.start()
                yield from follower
                messages.cancel()
            pump.join()
        finally:
            self._followers.release()

    def _in_trio(
        self,
        context: grpc.ServicerContext,
        function: Callable[..., Awaitable[_Reply]],
        *arguments: Any,
    ) -> _Reply:
        try:
            return trio.from_thread.run(function, *arguments, trio_token=self._token)
        except UserError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except MachineError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        except (trio.RunFinishedError, trio.Cancelled):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the machine is ending")
        except (SystemExit, KeyboardInterrupt) as error:  # gRPC would never answer
            what = f"something called for the exit: {type(error).__name__}"
            context.abort(grpc.StatusCode.INTERNAL, what)
        raise AssertionError("abort raises")


def _pump(messages: Any, follower: Follower) -> None:
    """Pass the core's events on until the core, or the follower, is gone."""
    with suppress(grpc.RpcError):
        for event in messages:
            if not follower.put(operator.MachineEvent(core=event), wait=True):
                break
    follower.close()
