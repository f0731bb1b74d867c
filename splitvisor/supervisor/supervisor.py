"""One machine from the first process to the last.

Start: the core and the service OSes side by side, then the guests. End, for whatever reason:
guests are stopped, service OSes get SIGTERM (and flush), then the core, then the run directory
goes. The end runs shielded from cancellation, and a second signal only takes its patience away:
nothing is left behind either way.
"""

import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import trio

from drivers.options import nearest
from protos import core_pb2 as core
from protos import core_pb2_grpc as core_grpc
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.machine import Guest, Machine
from splitvisor.supervisor import ending, events, faults, rpc, steps, urgency
from splitvisor.supervisor.child import (
    NOWHERE,
    Child,
    StartError,
    Stdio,
    adopt_orphans,
    cannot_start,
    spawn,
)
from splitvisor.supervisor.core_calls import CoreCalls
from splitvisor.supervisor.events import ServiceEvent
from splitvisor.supervisor.failure import MachineError, one_failure
from splitvisor.supervisor.followers import Followers
from splitvisor.supervisor.guests import GuestKeeper
from splitvisor.supervisor.locks import Locks
from splitvisor.supervisor.messages import messages_of
from splitvisor.supervisor.migrations import Migrations
from splitvisor.supervisor.missed import Missed
from splitvisor.supervisor.operator import OperatorServer
from splitvisor.supervisor.plan import Plan, child_environment
from splitvisor.supervisor.run_directory import RunDirectory
from splitvisor.supervisor.service import START_DEADLINE, ServiceKeeper
from splitvisor.supervisor.swaps import Swaps
from splitvisor.supervisor.waits import Waits

STOP_PATIENCE = 5.0  # seconds for the core to stop all guests
FLUSH_PATIENCE = 20.0  # seconds for a service OS to flush its disks
EXIT_PATIENCE = 5.0  # seconds for the core to exit
CALL_DEADLINE = 30.0

Body = Callable[["Supervisor"], Awaitable[None]]


async def supervise(
    plan: Plan,
    claim: Callable[[], RunDirectory],
    noted: ending.Noted,
    stdio: Stdio,
    report: events.Report,
    body: Body,
) -> str:
    """Run the machine for as long as `body` runs; why it ended if that was not body's doing.

    It lives in the directory that `claim` makes; `noted` has the signals that came before.

    That is "" when body came back, "stopped" when an operator stopped the machine, or the name of
    a signal. UserError if the machine cannot start, MachineError if it cannot go on.
    """
    adopt_orphans()
    urgency.prompt(os.getpid())
    gc.freeze()  # what is imported stays; to look through it delays a recovery by milliseconds
    with (
        one_failure(),
        trio.open_signal_receiver(*ending.SIGNALS) as signals,
        claim() as directory,
        Locks() as locks,
    ):
        noted.deliver()
        plan = plan.in_folder(directory.path)
        locks.take(plan.machine)
        supervisor = Supervisor(plan, directory, stdio, report, locks)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.heed, signals)
            try:
                await supervisor.run(body)
            finally:
                with trio.CancelScope(shield=True):
                    await supervisor.close()
            nursery.cancel_scope.cancel()
    return supervisor.reason


def core_options(machine: Machine) -> list[str]:
    """What the core of this machine is started with, besides its socket."""
    scheduling = machine.scheduling
    options = ["--policy", scheduling.policy, "--slice", str(scheduling.slice_ns)]
    options += ["--pcpus", ",".join(map(str, scheduling.pcpus))]
    if machine.memory_budget:
        options += ["--memory-budget", str(machine.memory_budget)]
    return options


class Supervisor:
    """A machine that runs."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        stdio: Stdio,
        report: events.Report,
        locks: Locks,
    ) -> None:
        self.reason = ""
        self._machine = plan.machine
        self._directory = directory
        self.followers = Followers()
        self._report = report
        self._core: Child | None = None
        self._memory_budget = 0
        self._channel = rpc.channel(directory.core_socket)
        self._stub: Any = core_grpc.CoreStub(self._channel)
        free = os.sched_getaffinity(0).difference(plan.machine.scheduling.pcpus)
        self._calls = CoreCalls(self._stub)
        self._services = {
            name: ServiceKeeper(
                name,
                directory,
                stdio,
                self._calls,
                self._tell,
                plan.machine.settings_of(name),
                free,
                plan.machine.guests,
            )
            for name in plan.machine.services
        }
        self._waits = Waits(self._services, self._guest_statuses, self._tell)
        self._missed = Missed(self._services, self._guest_statuses)
        self.guests = GuestKeeper(
            plan,
            self._stub,
            self._services_serving,
            self._hear,
            self._report,
            self._waits.opening,
        )
        self._locks = locks
        terminal = stdio is not NOWHERE
        self._swaps = Swaps(plan.machine, self._services, self.guests, locks, terminal)
        self.migrations = Migrations(self._swaps, self._services, self._tell)
        self._operator: OperatorServer | None = None
        self._work = trio.CancelScope()
        self._patience: list[trio.CancelScope] = []
        self._hurry = False
        self._closed = trio.Event()

    async def run(self, body: Body) -> None:
        """Start everything, then run body; cancelled by `stop`."""
        with self._work:
            async with trio.open_nursery() as services, AsyncExitStack() as stack:
                for service in self._services.values():
                    services.start_soon(service.keep)  # they come up while the core does
                try:
                    self._core = self._spawn_core()
                except OSError as error:
                    raise UserError(f"the core {cannot_start(error)}") from None
                await self._await_core(self._core)
                messages = await stack.enter_async_context(
                    rpc.stream(self._stub.WatchEvents, core.WatchRequest())
                )
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(self._watch_core)
                nursery.start_soon(self.migrations.keep)
                nursery.start_soon(self._missed.keep)
                nursery.start_soon(self.guests.follow, messages)
                self._calls.open(self._core.pid)
                for service in self._services.values():
                    await service.serving()
                self._operator = OperatorServer(self, self._directory.operator_socket)
                self._operator.start()
                await self.guests.start()
                self._locks.keep(self._swaps.machine)  # files that are there only now
                await body(self)
                services.cancel_scope.cancel()

    async def heed(self, signals: AsyncIterator[int]) -> None:
        """The first signal ends the machine in order, a second one at once."""
        async for number in signals:
            if self.reason:
                self._hurry = True
                for scope in self._patience:
                    scope.cancel()
            else:
                self.stop(signal.Signals(number).name)

    def stop(self, reason: str) -> None:
        """Begin to end the machine."""
        self.reason = self.reason or reason
        self._work.cancel()

    async def status(self) -> operator.MachineStatus:
        """Everything there is to know of the machine now."""
        guests = await self.guests.statuses()
        services = [service.status() for service in self._services.values()]
        for service in services:
            service.migrations.extend(self.migrations.under_way(service.name))
        return operator.MachineStatus(
            name=self._directory.name,
            supervisor_pid=os.getpid(),
            core_pid=self._core.pid if self._core else 0,
            run_dir=str(self._directory.path),
            services=services,
            guests=guests,
            scheduler=await self._call(self._stub.DescribeScheduler, core.SchedulerRequest()),
            memory_budget=self._memory_budget,
            memory_used=sum(guest.memory for guest in guests),
        )

    async def set_policy(self, request: core.PolicyConfig) -> core.SchedulerStatus:
        """Have another policy, or one with another slice, schedule all vCPUs."""
        reply: core.SchedulerStatus = await self._call(self._stub.SetPolicy, request)
        return reply

    async def set_schedule(self, request: operator.SetScheduleRequest) -> core.GuestStatus:
        """Schedule a guest's vCPUs otherwise; UserError if that cannot be."""
        return await self.guests.set_schedule(request)

    async def set_balloon(self, request: core.BalloonRequest) -> core.GuestStatus:
        """Take memory from a guest or give it back; UserError if that cannot be."""
        return await self.guests.set_balloon(request)

    def events(self, request: core.WatchRequest) -> Any:
        """The core's events from now on: a gRPC call to iterate, or cancel."""
        return self._stub.WatchEvents(request)

    async def stop_guest(self, name: str) -> None:
        """End one guest; UserError if there is none of that name."""
        await self.guests.stop(name)

    async def stop_machine(self) -> None:
        """End the machine; comes back when its processes are gone."""
        self.stop("stopped")
        await self._closed.wait()

    async def kill_service(self, name: str) -> tuple[int, int]:
        """SIGKILL a service OS, the only one if name is empty; its pid and epoch."""
        return self._service(name).kill()

    async def upgrade_service(self, name: str) -> operator.UpgradeReply:
        """Move all devices to an incarnation started for it; UserError says why it is not so."""
        return await self._service(name).upgrade()

    async def swap_driver(self, request: operator.SwapDriverRequest) -> operator.SwapDriverReply:
        """Have another driver serve a device; UserError says why it is not so."""
        return await self._swaps.swap(request)

    async def migrate_disk(self, request: operator.MigrateRequest) -> operator.Migration:
        """Begin to move a disk to another driver; UserError says why it is not so."""
        return await self.migrations.begin(request)

    async def migration(self, device: str) -> operator.Migration:
        """The last one of a device; UserError if there was none."""
        return self.migrations.last(device)

    async def abort_migration(self, device: str) -> operator.Migration:
        """End the one of a device; UserError if there is none."""
        return await self.migrations.abort(device)

    async def release_device(self, device: str) -> None:
        """Take a device (guest/device) out of quarantine; UserError if it is not in it."""
        held = {d: service for service in self._services.values() for d in service.quarantined()}
        if device not in held:
            raise UserError(f"device {device} is not in quarantine{nearest(device, held)}")
        held[device].feed(steps.DeviceReleaseAsked(device))

    async def inject_fault(self, request: operator.FaultRequest) -> operator.FaultReply:
        """Make a service OS misbehave; UserError if that cannot be."""
        if request.service:
            self._service(request.service)  # refuses an unknown one, whatever the device
        name = faults.service_of(self._machine.guests, request.fault, request.service)
        return await self._service(name).faults.inject(request)

    async def list_faults(self, service: str) -> operator.ListFaultsReply:
        """The faults that wait in the incarnation that serves."""
        return operator.ListFaultsReply(faults=await self._service(service).faults.armed())

    async def clear_faults(self, service: str) -> operator.ClearFaultsReply:
        """Take them away, and those for every later incarnation."""
        return operator.ClearFaultsReply(cleared=await self._service(service).faults.clear())

    async def close(self) -> None:
        """End whatever there is, in order, and remove the run directory."""
        if self._core is not None and self._core.status is None:
            with self._patient(STOP_PATIENCE) as patience:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._waits.tell_of_guests, patience)
                    await self.guests.stop_all()
                    nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            for service in self._services.values():
                nursery.start_soon(self._end, service)
        if self._core is not None:
            await self._core.end(self._patient(EXIT_PATIENCE))
        self._closed.set()
        if self._operator is not None:
            await trio.to_thread.run_sync(self._operator.stop)
        self._channel.close()
        self._directory.remove()

    async def _end(self, service: ServiceKeeper) -> None:
        patience = self._patient(FLUSH_PATIENCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._waits.tell_of_service, service, patience)
            await service.end(patience)
            nursery.cancel_scope.cancel()

    def _tell(self, event: ServiceEvent, now: int) -> None:
        for message in messages_of(event, now):
            self.followers.publish(message)
        self._report(event)

    def _service(self, name: str) -> ServiceKeeper:
        if not name and len(self._services) == 1:
            name = next(iter(self._services))
        if name not in self._services:
            if not name:
                raise UserError(f"which service OS? There are {', '.join(self._services)}")
            raise UserError(f"no service OS {name!r}{nearest(name, self._services)}")
        return self._services[name]

    def _spawn_core(self) -> Child:
        return spawn(
            "microhypervisor",
            [*("--listen", str(self._directory.core_socket)), *core_options(self._machine)],
            self._directory.log("core"),
            NOWHERE,
            child_environment(),
            apart=True,  # guests compute
        )

    async def _await_core(self, child: Child) -> None:
        try:
            await child.ready(START_DEADLINE)
        except StartError as error:
            raise UserError(f"the core {error}") from None
        description = await self._call(self._stub.Describe, core.DescribeRequest())
        self._memory_budget = description.memory_budget
        self._report(events.CoreStarted(child.pid, description))

    async def _watch_core(self) -> None:
        assert self._core is not None
        await self._core.died()
        await self._core.bury()
        line = self._core.last_line()
        raise MachineError(
            f"the core of machine {self._directory.name} (pid {self._core.pid}) died by "
            f"{self._core.how_it_died()}, and its guests with it{': ' if line else ''}{line}"
        )

    async def _guest_statuses(self) -> list[core.GuestStatus]:
        return await self.guests.statuses()

    def _hear(self, event: core.Event) -> None:
        self._waits.heard(event)
        if event.missed:
            self._missed.noticed()
            for service in self._services.values():
                service.feed(steps.EventsMissed())
        if event.kind == core.EVENT_GUEST_DESTROYED:
            for service in self._services.values():
                service.hear(event)
        elif event.service in self._services:  # or the core itself served the device
            self._services[event.service].hear(event)

    async def _services_serving(self, guest: Guest) -> None:
        for name in {device.service for device in guest.devices}:
            await self._services[name].serving()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await rpc.call(method, request, CALL_DEADLINE)
        except grpc.RpcError as error:
            raise rpc.failure("the core", error) from None

    def _patient(self, seconds: float) -> trio.CancelScope:
        scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        if self._hurry:
            scope.cancel()
        self._patience.append(scope)
        return scope
