"""The core's own gRPC service: guest lifecycle. What each call means stands in core.proto."""

import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc

from microhypervisor.build import build, regions_of
from microhypervisor.cpu.select import problem_of
from microhypervisor.devices.directory import ServiceDirectory
from microhypervisor.errors import EnvironmentFault, PeerFault, Refusal
from microhypervisor.events import EventLog
from microhypervisor.guest import Guest
from microhypervisor.limits import MAX_CHUNK, MAX_WATCHERS
from microhypervisor.sched.scheduler import Scheduler
from microhypervisor.status import status_of
from protos import core_pb2, core_pb2_grpc

R = TypeVar("R")
Context = grpc.ServicerContext


_CODES = {
    Refusal.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Refusal.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Refusal.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.NOT_CONNECTED: grpc.StatusCode.UNAVAILABLE,
}


class Control(core_pb2_grpc.CoreServicer):
    """All guests of this core. Calls that change something run one at a time."""

    def __init__(self, scheduler: Scheduler, memory_budget: int) -> None:
        self.events = EventLog()
        self._scheduler = scheduler
        self._directory = ServiceDirectory(self.events)
        self._budget = memory_budget
        self._guests: dict[str, Guest] = {}
        self._changing = threading.Lock()
        self._watchers = threading.Semaphore(MAX_WATCHERS)

    def Describe(
        self, request: core_pb2.DescribeRequest, context: Context
    ) -> core_pb2.CoreDescription:
        problem = problem_of("kvm")
        return core_pb2.CoreDescription(
            pid=os.getpid(),
            auto_cpu=core_pb2.CPU_EMULATED if problem else core_pb2.CPU_KVM,
            kvm_problem=problem,
            pcpus=self._scheduler.pcpus,
            memory_budget=self._budget,
            memory_used=self._memory_used(),
        )

    def ConnectService(
        self, request: core_pb2.ServiceEndpoint, context: Context
    ) -> core_pb2.ConnectReply:
        def connect() -> core_pb2.ConnectReply:
            results = self._directory.connect(request)
            problems = [
                core_pb2.DeviceProblem(guest=d.guest, device=d.config.name, problem=str(problem))
                for d, problem in results
                if problem
            ]
            return core_pb2.ConnectReply(problems=problems, attached=len(results) - len(problems))

        return self._answer(context, connect)

    def CreateGuest(self, request: core_pb2.GuestConfig, context: Context) -> core_pb2.GuestStatus:

        def create() -> core_pb2.GuestStatus:
            if request.name in self._guests:
                raise PeerFault(f"guest {request.name} exists already", Refusal.EXISTS)
            self._admit(request)
            guest = build(request, self._scheduler, self._directory, self.events)
            self._guests[request.name] = guest
            return status_of(guest, self._directory)

        return self._answer(context, create)

    def LoadGuest(
        self, request_iterator: Iterator[core_pb2.MemoryChunk], context: Context
    ) -> core_pb2.GuestStatus:

        def load() -> core_pb2.GuestStatus:
            guest = self._find(name)
            if len(chunk.data) > MAX_CHUNK:
                raise PeerFault(f"a chunk of {len(chunk.data)} bytes: send at most {MAX_CHUNK}")
            guest.load(chunk.address, chunk.data)
            return status_of(guest, self._directory)

        name, status = "", core_pb2.GuestStatus()
        for chunk in request_iterator:
            name = name or chunk.guest
            status = self._answer(context, load)  # one at a time: a slow caller holds up nobody
        if not name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no chunk, so no guest, was named")
        return status

    def StartGuest(self, request: core_pb2.GuestRef, context: Context) -> core_pb2.GuestStatus:
        return self._change(context, request, Guest.start)

    def PauseGuest(self, request: core_pb2.GuestRef, context: Context) -> core_pb2.GuestStatus:
        return self._change(context, request, Guest.pause)

    def ResumeGuest(self, request: core_pb2.GuestRef, context: Context) -> core_pb2.GuestStatus:
        return self._change(context, request, Guest.resume)

    def StopGuest(self, request: core_pb2.GuestRef, context: Context) -> core_pb2.GuestStatus:
        return self._change(context, request, Guest.stop)

    def DestroyGuest(self, request: core_pb2.GuestRef, context: Context) -> core_pb2.DestroyReply:

        def destroy() -> core_pb2.DestroyReply:
            self._find(request.name).destroy()
            del self._guests[request.name]
            return core_pb2.DestroyReply()

        return self._answer(context, destroy)

    def ListGuests(self, request: core_pb2.ListRequest, context: Context) -> core_pb2.GuestList:
        guests = sorted(self._guests.copy().items())
        return core_pb2.GuestList(guests=[status_of(guest, self._directory) for _, guest in guests])

    def WatchEvents(
        self, request: core_pb2.WatchRequest, context: Context
    ) -> Iterator[core_pb2.Event]:
        if not self._watchers.acquire(blocking=False):
            text = f"there are {MAX_WATCHERS} watchers already: end one"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if not context.add_callback(self._watchers.release):  # it is over already
            self._watchers.release()
        context.add_callback(self.events.nudge)
        events = self.events.watch(lambda: not context.is_active())
        context.send_initial_metadata(())  # the watch has begun: what follows is not missed
        return events

    def close(self) -> None:
        """End all guests and give everything back."""
        with self._changing:
            for guest in self._guests.values():
                guest.destroy()
            self._guests.clear()
        self.events.close()

    def _find(self, name: str) -> Guest:
        if name not in self._guests:
            raise PeerFault(f"no guest is named {name}", Refusal.NOT_FOUND)
        return self._guests[name]

    def _memory_used(self) -> int:
        return sum(guest.memory.size for guest in self._guests.copy().values())

    def _admit(self, config: core_pb2.GuestConfig) -> None:
        wanted, used = sum(region.size for region in regions_of(config)), self._memory_used()
        if used + wanted > self._budget:
            raise EnvironmentFault(
                f"guest {config.name} wants {wanted >> 20} MiB, {used >> 20} of"
                f" {self._budget >> 20} MiB are taken: give it less, or stop another guest"
            )

    def _change(
        self,
        context: Context,
        request: core_pb2.GuestRef,
        change: Callable[[Guest], None],
    ) -> core_pb2.GuestStatus:
        def run() -> core_pb2.GuestStatus:
            guest = self._find(request.name)
            change(guest)
            return status_of(guest, self._directory)

        return self._answer(context, run)

    def _answer(self, context: Context, call: Callable[[], R]) -> R:
        try:
            with self._changing:
                return call()
        except PeerFault as fault:
            context.abort(_CODES[fault.refusal], str(fault))
        except EnvironmentFault as fault:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(fault))
        raise AssertionError("abort raises")
