"""Core, as core.proto has it: take a message, call one method of the core, answer with a message.

What each call means stands in core.proto; what the core does, in microhypervisor/.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import TypeVar

import grpc

from control.config import check, cpu_of, parameters_of, regions_of, registers_of, slice_of
from control.select import problem_of
from control.status import (
    accounts,
    balloon_of,
    connect_reply,
    dirty_pages,
    retry_reply,
    scheduler_status,
    status_of,
)
from microhypervisor.core import Core
from microhypervisor.errors import EnvironmentFault, PeerFault, Refusal
from microhypervisor.guest import Guest
from microhypervisor.lifecycle import GuestState
from microhypervisor.limits import MAX_CHUNK, MAX_MESSAGE
from protos import core_pb2, core_pb2_grpc
from sessions.directory import ServiceDirectory

Q = TypeVar("Q")
R = TypeVar("R")
Context = grpc.ServicerContext
Status = core_pb2.GuestStatus

MAX_WATCHERS = 8  # each holds a thread
# Calls and watches at once; a thread is made when none is idle. A call may hold one for as long as
# a service OS or a loader takes, and what ends that is another call, for which one must be left.
THREADS = 256
MIN_ACCOUNTING_MS = 10  # between the accounts that a watcher asks for; each is a copy of them all
# What a recovery goes through is told a moment later: each message costs processor time that guests
# wait for just then. The event itself has the time at which it happened.
CALM_NS = 5_000_000
_CALM = (
    core_pb2.EVENT_SERVICE_CONNECTED,
    core_pb2.EVENT_DEVICE_ATTACHED,
    core_pb2.EVENT_DEVICE_RESUMED,
    core_pb2.EVENT_DEVICE_REPLAYED,
)
STOP_GRACE_S = 1.0  # for answers that are on their way

_CODES = {
    Refusal.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Refusal.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Refusal.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.NOT_CONNECTED: grpc.StatusCode.UNAVAILABLE,
    Refusal.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def _telling(call: "Callable[[Control, Q], R]") -> "Callable[[Control, Q, Context], R]":
    """A call whose faults are told as statuses."""

    @wraps(call)
    def answer(control: "Control", request: Q, context: Context) -> R:
        try:
            return call(control, request)
        except PeerFault as fault:
            context.abort(_CODES[fault.refusal], str(fault))
        except EnvironmentFault as fault:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(fault))
        raise AssertionError("abort raises")

    return answer


def _changing(call: "Callable[[Control, Q], R]") -> "Callable[[Control, Q, Context], R]":
    """As _telling, a call that changes guests: one at a time."""

    @wraps(call)
    def alone(control: "Control", request: Q) -> R:
        with control.core.changing:
            return call(control, request)

    return _telling(alone)


class Control(core_pb2_grpc.CoreServicer):
    """Calls that change guests run one at a time.

    Of them only CreateGuest waits for calls about service OSes: of those that its devices name.
    """

    def __init__(self, core: Core, directory: ServiceDirectory) -> None:
        self.core = core
        self.directory = directory
        self._watchers = threading.Semaphore(MAX_WATCHERS)
        self._kvm_problem = problem_of("kvm")  # asked once: it makes a virtual machine

    def Describe(
        self, request: core_pb2.DescribeRequest, context: Context
    ) -> core_pb2.CoreDescription:
        problem = self._kvm_problem
        return core_pb2.CoreDescription(
            pid=os.getpid(),
            auto_cpu=core_pb2.CPU_EMULATED if problem else core_pb2.CPU_KVM,
            kvm_problem=problem,
            pcpus=len(self.core.scheduler.pcpus),
            memory_budget=self.core.memory_budget,
            memory_used=self.core.memory_used,
        )

    @_telling
    def PrepareService(self, request: core_pb2.ServiceEndpoint) -> core_pb2.ConnectReply:
        return connect_reply(self.directory.prepare(request))

    @_telling
    def ConnectService(self, request: core_pb2.ServiceEndpoint) -> core_pb2.ConnectReply:
        return connect_reply(*self.directory.connect(request))

    @_telling
    def ReleaseService(self, request: core_pb2.ReleaseRequest) -> core_pb2.ReleaseReply:
        self.directory.release(request.name, request.patience_ms)
        return core_pb2.ReleaseReply()

    @_telling
    def SwapDriver(self, request: core_pb2.SwapRequest) -> core_pb2.SwapReply:
        wanted = request.device, request.spec, request.patience_ms, request.idle
        waited = self.directory.swap(request.service, *wanted)
        return core_pb2.SwapReply(waited_us=round(waited * 1e6))

    @_telling
    def FailDevices(self, request: core_pb2.FailRequest) -> core_pb2.FailReply:
        names, reason = list(request.devices), request.reason
        failed = self.directory.fail(request.service, names, reason, request.unserved)
        return core_pb2.FailReply(failed=failed)

    @_telling
    def RetryDevices(self, request: core_pb2.RetryRequest) -> core_pb2.RetryReply:
        names = list(request.devices)
        return retry_reply(self.directory.retry(request.service, request.epoch, names))

    @_changing
    def CreateGuest(self, request: core_pb2.GuestConfig) -> Status:
        check(request)
        cpu, regions = cpu_of(request), regions_of(request)
        registers, parameters = registers_of(request.registers), parameters_of(request.schedule)
        try:
            guest = self.core.create(request, cpu, regions, registers, parameters)
        except OSError as error:  # no descriptors are left, say
            raise EnvironmentFault(f"guest {request.name}: the host refuses: {error}") from None
        return self._status(guest)

    def LoadGuest(
        self, request_iterator: Iterator[core_pb2.MemoryChunk], context: Context
    ) -> Status:
        name, status = "", Status()
        for chunk in request_iterator:
            chunk.guest = name = name or chunk.guest
            status = self._load(chunk, context)  # one at a time: a slow caller holds up nobody
        if not name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no chunk, so no guest, was named")
        return status

    @_changing
    def _load(self, chunk: core_pb2.MemoryChunk) -> Status:
        guest = self.core.find(chunk.guest)
        if len(chunk.data) > MAX_CHUNK:
            raise PeerFault(f"a chunk of {len(chunk.data)} bytes: send at most {MAX_CHUNK}")
        guest.load(chunk.address, chunk.data)
        return self._status(guest)

    @_changing
    def StartGuest(self, request: core_pb2.GuestRef) -> Status:
        return self._do(Guest.start, request)

    @_changing
    def PauseGuest(self, request: core_pb2.GuestRef) -> Status:
        return self._do(Guest.pause, request)

    @_changing
    def ResumeGuest(self, request: core_pb2.GuestRef) -> Status:
        return self._do(Guest.resume, request)

    @_changing
    def StopGuest(self, request: core_pb2.GuestRef) -> Status:
        return self._do(Guest.stop, request)

    @_changing
    def DestroyGuest(self, request: core_pb2.GuestRef) -> core_pb2.DestroyReply:
        self.core.destroy(request.name)
        return core_pb2.DestroyReply()

    def ListGuests(self, request: core_pb2.ListRequest, context: Context) -> core_pb2.GuestList:
        return core_pb2.GuestList(guests=[self._status(guest) for guest in self.core.guests])

    def DescribeScheduler(
        self, request: core_pb2.SchedulerRequest, context: Context
    ) -> core_pb2.SchedulerStatus:
        return scheduler_status(self.core.scheduler)

    @_changing
    def SetPolicy(self, request: core_pb2.PolicyConfig) -> core_pb2.SchedulerStatus:
        scheduler = self.core.scheduler
        slice_ns = slice_of(request.slice_ns or scheduler.slice_ns)
        scheduler.set_policy(request.policy or scheduler.policy_name, slice_ns)
        kind, name = core_pb2.EVENT_POLICY_CHANGED, scheduler.policy_name
        self.core.events.emit(core_pb2.Event(kind=kind, text=name))
        return scheduler_status(scheduler)

    @_changing
    def SetSchedule(self, request: core_pb2.ScheduleRequest) -> Status:
        guest = self.core.find(request.guest)
        vcpu = request.vcpu if request.HasField("vcpu") else None
        guest.set_schedule(vcpu, parameters_of(request.schedule))
        kind = core_pb2.EVENT_SCHEDULE_CHANGED
        self.core.events.emit(core_pb2.Event(kind=kind, guest=guest.name, vcpus=accounts(guest)))
        return self._status(guest)

    @_changing
    def SetBalloon(self, request: core_pb2.BalloonRequest) -> Status:
        guest = self.core.find(request.guest)
        if guest.state is GuestState.ENDED:
            raise PeerFault(f"guest {guest.name} has ended", Refusal.WRONG_STATE)
        balloon = balloon_of(self.directory, guest.name)
        if balloon is None:
            missing = f"guest {guest.name} has no balloon: start it with one"
            raise PeerFault(missing, Refusal.WRONG_STATE)
        balloon.set_target(request.target)
        return self._status(guest)

    @_changing
    def TrackDirty(self, request: core_pb2.TrackDirtyRequest) -> Status:
        guest = self.core.find(request.guest)
        guest.track_dirty(request.on)
        return self._status(guest)

    @_changing
    def TakeDirty(self, request: core_pb2.GuestRef) -> core_pb2.DirtyPages:
        guest = self.core.find(request.name)
        return dirty_pages(guest.memory.regions, guest.take_dirty())

    def WatchEvents(
        self, request: core_pb2.WatchRequest, context: Context
    ) -> Iterator[core_pb2.Event]:
        events = self.core.events
        if not self._watchers.acquire(blocking=False):
            text = f"there are {MAX_WATCHERS} watchers already: end one"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if not context.add_callback(self._watchers.release):  # it is over already
            self._watchers.release()
        context.add_callback(events.nudge)
        asked = request.accounting_ms
        period = max(asked, MIN_ACCOUNTING_MS) / 1000 if asked else None
        watch = events.watch(lambda: not context.is_active(), period)
        context.send_initial_metadata(())  # the watch has begun: what follows is not missed
        return self._with_accounts(watch, period)

    def _with_accounts(
        self, events: Iterator[core_pb2.Event | None], period: float | None
    ) -> Iterator[core_pb2.Event]:
        """Put in what the guests' vCPUs did: at the end of each guest, and every `period`."""
        due = time.monotonic() + (period or 0)
        for event in events:
            if event is not None:
                if event.kind in _CALM:
                    time.sleep(max(event.monotonic_ns + CALM_NS - time.monotonic_ns(), 0) / 1e9)
                if event.kind == core_pb2.EVENT_GUEST_ENDED:
                    ended = [guest for guest in self.core.guests if guest.name == event.guest]
                    event.vcpus.extend(vcpu for guest in ended for vcpu in accounts(guest))
                yield event
            if period and (now := time.monotonic()) >= due:
                due = now + period
                for guest in self.core.guests:
                    account = core_pb2.Event(kind=core_pb2.EVENT_ACCOUNTING, guest=guest.name)
                    account.monotonic_ns = time.monotonic_ns()
                    account.vcpus.extend(accounts(guest))
                    yield account

    def _do(self, change: Callable[[Guest], None], request: core_pb2.GuestRef) -> Status:
        guest = self.core.find(request.name)
        change(guest)
        return self._status(guest)

    def _status(self, guest: Guest) -> Status:
        return status_of(guest, self.directory)


class Server:
    """Serves a core on a Unix socket."""

    def __init__(self, core: Core, directory: ServiceDirectory, path: str) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        self._server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
        core_pb2_grpc.add_CoreServicer_to_server(Control(core, directory), self._server)
        self._server.add_insecure_port(f"unix:{path}")

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()

    def stop(self) -> None:
        """Answer no more; blocks."""
        self._server.stop(STOP_GRACE_S).wait()
