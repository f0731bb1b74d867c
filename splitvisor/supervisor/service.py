"""Keeps one service OS alive: does what the recovery machine says, and tells it what happens.

What can wait is a task of its own: while one incarnation is buried the next one may come up.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

import grpc
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from protos.io_pb2 import ProgressReply
from splitvisor.errors import UserError
from splitvisor.machine import Guest, ServiceSettings
from splitvisor.supervisor import events, reports, steps, urgency
from splitvisor.supervisor.attention import Attention
from splitvisor.supervisor.child import StartError, Stdio, cannot_start
from splitvisor.supervisor.consequences import Consequences
from splitvisor.supervisor.core_calls import Calls, problems_of, reason_of
from splitvisor.supervisor.fault_orders import FaultOrders
from splitvisor.supervisor.outage_policies import OutagePolicies
from splitvisor.supervisor.process import Process, launch
from splitvisor.supervisor.recovery import Recovery
from splitvisor.supervisor.run_directory import RunDirectory
from splitvisor.supervisor.service_status import status_of
from splitvisor.supervisor.states import SERVES, SETTLED
from splitvisor.supervisor.telling import Telling

START_DEADLINE = 20.0  # seconds; a loaded host starts Python and gRPC in two or three
ANSWER_AFTER_DEATH = 1.0  # seconds for the core to answer a call about one that is dead
WORLD_S = 5.0  # for the replay of a device whose driver may wait for the world outside


class ServiceKeeper:
    """One service OS through all its incarnations."""

    def __init__(
        self,
        name: str,
        directory: RunDirectory,
        stdio: Stdio,
        calls: Calls,
        report: Callable[[events.ServiceEvent, int], None],
        settings: ServiceSettings = ServiceSettings(),
        cpus: Set[int] = frozenset(),
        guests: Sequence[Guest] = (),
    ) -> None:
        self.name = name
        self.settings = settings
        self.machine = Recovery(name, settings.standby)
        self._cpus = cpus  # of the host that it is to keep to; empty: all
        self._directory = directory
        self._stdio = stdio
        self._calls = calls
        self._telling = Telling(name, report)
        self._tell = self._telling.tell
        self._heard: deque[steps.Event] = deque()
        self._processes: dict[int, Process] = {}
        self._buried: list[Process] = []  # whose sockets are still there
        self._nursery: trio.Nursery | None = None
        self._alarm = trio.CancelScope()
        self._changed = trio.Event()  # replaced at each change of the machine
        self._upgrades = itertools.count(1)
        self._upgraded: dict[int, steps.UpgradeEnded] = {}  # those that have ended
        self._ending = False
        self.faults = FaultOrders(
            self.machine, settings, self.incarnation, self._processes, self.feed, self._tell
        )
        policies = OutagePolicies(name, guests)
        self._consequences = Consequences(name, policies, calls, self._tell, self.machine)

    async def keep(self) -> None:
        """Replace each incarnation that dies, for ever; UserError if there can be none."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._telling.keep)
            self.feed(steps.Begin())
            nursery.start_soon(self._consequences.keep)
            while True:
                with self._alarm:
                    await trio.sleep_forever()
                self._alarm = trio.CancelScope()
                self.feed(steps.Tick())

    async def serving(self) -> None:
        """Wait until an incarnation serves."""
        while self.machine.state not in SERVES:
            await self._changed.wait()

    def feed(self, event: steps.Event) -> None:
        """Tell the machine, and begin what it says."""
        if self._ending or self._nursery is None:
            return
        self._heard.append(event)
        if len(self._heard) > 1:
            return  # what is begun below has led to it: its turn comes
        while self._heard:
            now, heard = time.monotonic_ns(), self._heard[0]
            if isinstance(heard, steps.Reaped):
                for dead in self._buried:
                    if dead.endpoint.epoch == heard.epoch and self.machine.is_news(heard):
                        self._tell(dead.child)
                    elif dead.endpoint.epoch == heard.epoch:
                        dead.child.log.unlink(missing_ok=True)
            for action in self.machine.handle(heard, now):
                self._begin(action)
            self._heard.popleft()
        due = self.machine.deadline
        seconds = float("inf") if due is None else max(due - now, 0) / 1e9
        self._alarm.deadline = trio.current_time() + seconds
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        self._consequences.changed()
        if self._buried and self.machine.state in SERVES:
            self._tidy()

    def hear(self, event: core.Event) -> None:
        """What the core tells of this service OS's devices, or of a guest that is no more."""
        device, epoch = f"{event.guest}/{event.device}", event.epoch
        if (step := steps.of_core(event)) is not None:
            self.feed(step)
        process, nursery = self._processes.get(epoch), self._nursery
        if process is None or nursery is None:
            return
        match event.kind:
            case core.EVENT_DEVICE_ATTACHED if event.count:
                excuse = steps.DeviceReplayed(epoch, device, 0, event.monotonic_ns)
                nursery.start_soon(self._excuse, process, excuse)
            case core.EVENT_DEVICE_LOST:
                self.lost(epoch, device, event.text)
            case core.EVENT_STANDBY_LOST:
                process.attention.stream_broke(event.text)
            case core.EVENT_DEVICE_STALLED if self.settings.watchdog:
                nursery.start_soon(process.attention.stalled, device, event)

    def lost(self, epoch: int, device: str, why: str) -> None:
        """An incarnation does not serve a device (guest/device) any more."""
        if process := self._processes.get(epoch):
            process.attention.stream_broke(f"{device} was lost: {why}")

    def serves(self, device: str) -> int | None:
        """The epoch of the incarnation that is to serve a device (guest/device) now, if one is."""
        active, besides = self.machine.active, (*self.machine.unserved.devices, *self.quarantined())
        settled = active is not None and self.machine.state in SETTLED and device not in besides
        return active.epoch if active and settled else None

    def kill(self) -> tuple[int, int]:
        """SIGKILL the incarnation that serves; its pid and epoch. UserError if it is dead."""
        epoch, process = self.incarnation()
        self.feed(steps.Ordered(epoch))
        process.child.kill()
        return process.child.pid, epoch

    def incarnation(self, standby: bool = False) -> tuple[int, Process]:
        """The one that serves or is to, or the one that stands by; UserError if there is none."""
        known = self.machine.standby if standby else self.machine.active
        process = self._processes.get(known.epoch) if known and known.lost is None else None
        if known is None or process is None:
            if standby:
                cure = "ask in a moment" if self.settings.standby else "its standby is switched off"
                raise UserError(f"service OS {self.name} has no standby now: {cure}")
            raise UserError(f"service OS {self.name} is dead already: it is being started again")
        return known.epoch, process

    async def upgrade(self) -> operator.UpgradeReply:
        """Move all devices to a fresh incarnation; UserError with the reason if that fails."""
        number = next(self._upgrades)
        self.feed(steps.UpgradeAsked(number))
        while number not in self._upgraded:
            await self._changed.wait()
        ended = self._upgraded.pop(number)
        if ended.outage is None:
            raise UserError(f"service OS {self.name} is not upgraded: {ended.problem}")
        epoch, process = self.incarnation()
        pause_ms = ended.outage.total_ms
        return operator.UpgradeReply(pid=process.child.pid, epoch=epoch, pause_ms=pause_ms)

    async def swap(self, device: str, old: str, new: str, idle: bool) -> events.DriverSwapped:
        """Have another driver serve a device; UserError with the reason if it does not."""
        if self.machine.state not in SETTLED:
            state = self.machine.state
            raise UserError(f"service OS {self.name} is {state}: ask again in a moment")
        if device in self.quarantined():
            cure = "give it back with 'splitvisor service release' first"
            raise UserError(f"device {device} is in quarantine: {cure}")
        epoch, process = self.incarnation()
        began, pause_ns, problem = time.monotonic_ns(), 0, ""
        try:
            pause_ns = await self._calls.swap(self.name, device, new, idle)
        except grpc.RpcError as error:
            problem = reason_of(error)
        if problem:  # the core may have done it all the same, if the answer was lost
            with suppress(grpc.RpcError):
                if old != new == await self._calls.spec(device):
                    problem, pause_ns = "", time.monotonic_ns() - began
        if problem:
            self._tell(events.DriverSwapFailed(self.name, device, problem))
            raise UserError(f"device {device} keeps its driver: {problem}")
        told = events.DriverSwapped(self.name, process.child.pid, epoch, device, old, new, pause_ns)
        self._tell(told)
        return told

    async def progress(self, device: str) -> ProgressReply | None:
        """What the driver of a device reports, if it does; UserError while nobody serves."""
        if self.machine.state not in SETTLED:
            raise UserError(f"service OS {self.name} is {self.machine.state}")
        return await reports.progress(self.incarnation()[1].endpoint, device)

    def quarantined(self) -> Mapping[str, str]:
        """The devices that are kept away from it, with the reasons."""
        return self.machine.quarantine.reasons

    async def end(self, patience: trio.CancelScope) -> None:
        """End whatever runs: SIGTERM to the one that serves, so that it flushes; then SIGKILL."""
        self._ending = True
        active = self.machine.active
        async with trio.open_nursery() as nursery:
            for epoch, process in self._processes.items():
                process.give_up()
                if active is not None and epoch == active.epoch and active.lost is None:
                    nursery.start_soon(process.child.end, patience)
                else:
                    nursery.start_soon(process.child.bury)
        for process in self._processes.values():
            self._buried.append(process)
            self._tell(process.child)
        self._processes.clear()
        self._tidy()
        self._telling.catch_up()

    def status(self) -> operator.ServiceStatus:
        """For `service status`."""
        machine = self.machine
        status = status_of(machine, self.settings, time.monotonic_ns())
        if self._ending:
            status.state = operator.SERVICE_DEAD
        if machine.active is not None and (active := self._processes.get(machine.active.epoch)):
            status.pid = active.child.pid
            status.uptime_s = time.monotonic() - active.born
        if machine.standby is not None and (next_ := self._processes.get(machine.standby.epoch)):
            status.standby.pid = next_.child.pid
        return status

    def lives(self) -> bool:
        """Whether the incarnation that serves, or is to, is there."""
        active = self.machine.active
        process = self._processes.get(active.epoch) if active is not None else None
        return process is not None and process.child.status is None

    def _begin(self, action: steps.Action) -> None:
        assert self._nursery is not None
        start = self._nursery.start_soon
        match action:
            case steps.Launch(epoch, standby):
                try:
                    self._processes[epoch] = self._spawn(epoch)
                except OSError as error:
                    self.feed(steps.Lost(epoch, cannot_start(error)))
                    return
                if standby:
                    urgency.patient(self._processes[epoch].child.pid)
                start(self._bring_up, epoch)
            case steps.Fence(epoch) if epoch not in self._processes:
                self.feed(steps.Reaped(epoch, 0, "it was not even started", killed=False))
            case steps.Fence(epoch):
                self._processes[epoch].give_up()
                if self._processes[epoch].child.bury_at_once():
                    self._fenced(epoch)
                else:
                    start(self._fence, epoch)
            case steps.Prepare(epoch):
                start(self._prepare, epoch)
            case steps.Connect(epoch, one_by_one, withheld):
                endpoint = core.ServiceEndpoint(one_by_one=one_by_one, withheld=withheld)
                self._consequences.given()
                endpoint.MergeFrom(self._processes[epoch].endpoint)
                start(self._connect, epoch, endpoint, self._processes[epoch].new_call())
            case steps.Release(epoch):
                start(self._release, epoch, self._processes[epoch].new_call())
            case steps.Retry(epoch, devices):
                start(self._retry, epoch, devices)
            case steps.Fail(device, reason):
                start(self._fail, device, reason)
            case steps.Tell(event):
                self._tell(event)
            case steps.UpgradeEnded(number):
                self._upgraded[number] = action
            case steps.GiveUp(why):
                self._telling.take_back()  # `why` has the last words of the child
                start(self._give_up, why)

    def _spawn(self, epoch: int) -> Process:
        child, endpoint = launch(
            self.name, epoch, self._directory, self._stdio, self.settings.failpoints, self._cpus
        )
        attention = Attention(epoch, child, self._calls, self.feed)
        return Process(child, endpoint, attention, time.monotonic())

    async def _bring_up(self, epoch: int) -> None:
        process = self._processes[epoch]
        with process.waiting():
            async with trio.open_nursery() as nursery:
                if self.settings.watchdog:
                    nursery.start_soon(process.attention.await_stop)
                try:
                    await process.child.ready(START_DEADLINE)
                    await self.faults.lasting.arm(process.endpoint)
                except (StartError, UserError) as error:
                    self.feed(steps.Lost(epoch, str(error)))
                else:
                    self.feed(steps.Started(epoch, process.child.pid))
                    await process.attention.await_death()
                nursery.cancel_scope.cancel()

    async def _prepare(self, epoch: int) -> None:
        if (process := self._processes.get(epoch)) is None:  # it died at once, and is reaped
            return
        with process.waiting():
            try:
                endpoint = core.ServiceEndpoint(withheld=self.quarantined())
                endpoint.MergeFrom(process.endpoint)
                reply = await self._calls.prepare(endpoint)
            except grpc.RpcError as error:
                why = f"cannot open its devices: {reason_of(error)}"
                self.feed(steps.Lost(epoch, why))
            else:
                self.feed(steps.Prepared(epoch, reply.attached, problems_of(reply)))

    async def _connect(
        self, epoch: int, endpoint: core.ServiceEndpoint, call: trio.CancelScope
    ) -> None:
        heard: steps.Event = steps.ConnectFailed(epoch, "died while its devices were attached")
        with call:
            try:
                reply = await self._calls.connect(endpoint)
                problems = problems_of(reply)
                heard = steps.Connected(epoch, reply.attached, problems, reply.guilty)
            except grpc.RpcError as error:
                heard = steps.ConnectFailed(epoch, f"was refused by the core: {reason_of(error)}")
        self.feed(heard)

    async def _release(self, epoch: int, call: trio.CancelScope) -> None:
        heard: steps.Event = steps.ReleaseFailed(epoch, "it died")
        with call:
            try:
                await self._calls.release(self.name)
                heard = steps.Released(epoch)
            except grpc.RpcError as error:
                heard = steps.ReleaseFailed(epoch, f"it does not finish: {reason_of(error)}")
        self.feed(heard)

    async def _retry(self, epoch: int, devices: tuple[str, ...]) -> None:
        try:
            reply = await self._calls.retry(self.name, epoch, devices)
            heard = steps.Retried(epoch, tuple(reply.served), problems_of(reply))
        except grpc.RpcError as error:
            problems = tuple(f"{device}: {reason_of(error)}" for device in devices)
            heard = steps.Retried(epoch, problems=problems)
        self.feed(heard)

    async def _fail(self, device: str, reason: str) -> None:
        with suppress(grpc.RpcError):  # its guest is gone, say
            await self._calls.fail(self.name, [device], reason)

    async def _fence(self, epoch: int) -> None:
        await self._processes[epoch].child.bury()
        self._fenced(epoch)

    def _fenced(self, epoch: int) -> None:
        process = self._processes.pop(epoch)
        process.call.deadline = trio.current_time() + ANSWER_AFTER_DEATH
        self._buried.append(process)
        child = process.child
        for other in list(self._processes.values()):
            other.attention.look()  # who is dead as well is not to take over
        self.feed(steps.Reaped(epoch, child.pid, child.how_it_died(), child.killed()))

    async def _excuse(self, process: Process, excuse: steps.DeviceReplayed) -> None:
        """Its driver may wait for the world outside, and a recovery does not wait for that."""
        with process.waiting():
            await trio.sleep(WORLD_S)
            self.feed(excuse)

    async def _give_up(self, why: str) -> None:
        self._tidy()
        self._telling.catch_up()
        raise UserError(f"service OS {self.name} {why}")

    def _tidy(self) -> None:
        """Take the sockets of the dead away."""
        for process in self._buried:
            for path in (process.endpoint.address, process.endpoint.grant_address):
                Path(path).unlink(missing_ok=True)
        self._buried.clear()
