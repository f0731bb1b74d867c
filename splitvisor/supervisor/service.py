"""Keeps one service OS alive: one incarnation after the other, never two at once.

An incarnation is *launched* (a process that serves on sockets of its own), then *attached* (the
core connects its devices and replays). The two are apart so that a launched one may wait as a warm
standby. Between a death and the next attachment stands the fence: the dead incarnation's whole
process group is killed and reaped before the core hears of another.
"""

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import trio

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.errors import UserError
from splitvisor.supervisor import events
from splitvisor.supervisor.child import Child, StartError, Stdio, spawn
from splitvisor.supervisor.deaths import FREE, Deaths, Outage
from splitvisor.supervisor.plan import child_environment
from splitvisor.supervisor.run_directory import RunDirectory

START_DEADLINE = 20.0  # seconds; a loaded host starts Python and gRPC in two or three
Connect = Callable[[core.ServiceEndpoint], Awaitable[core.ConnectReply]]


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process that is the service OS, and how the core reaches it."""

    epoch: int
    child: Child
    endpoint: core.ServiceEndpoint
    born: float  # seconds, monotonic


class ServiceKeeper:
    """One service OS through all its incarnations."""

    def __init__(
        self,
        name: str,
        directory: RunDirectory,
        stdio: Stdio,
        connect: Connect,
        report: events.Report,
        cpus: Set[int] = frozenset(),
    ) -> None:
        self.name = name
        self._cpus = cpus  # of the host that it is to keep to; empty: all
        self._directory = directory
        self._stdio = stdio
        self._connect = connect
        self._report = report
        self._deaths = Deaths()
        self._epoch = 0
        self._incarnation: Incarnation | None = None
        self._attached = trio.Event()
        self._killed_ns = 0
        self._last_outage: Outage | None = None

    async def launch(self) -> None:
        """The first incarnation that serves; UserError if there is none.

        One that a signal kills is replaced as after any death, but only a few times.
        """
        while True:
            try:
                return await self._launch()
            except StartError as error:
                if not self._current.child.killed() or self._deaths.count >= FREE:
                    raise UserError(f"service OS {self.name} {error}") from None
                await self._give_up(error)

    async def attach(self) -> None:
        """Make the first incarnation known to the core; UserError if that fails."""
        try:
            await self._attach()
        except StartError as error:
            raise UserError(f"service OS {self.name} {error}") from None
        self._attached.set()

    async def keep(self) -> None:
        """Replace each incarnation that dies, for ever."""
        while True:
            await self._current.child.died()
            outage = Outage(noticed=time.monotonic_ns(), killed=self._killed_ns)
            self._attached = trio.Event()
            self._last_outage = outage
            await self._bury()
            outage.reaped = time.monotonic_ns()
            await trio.sleep(self._mourn())
            await self._recover(outage)

    async def serving(self) -> None:
        """Wait until an incarnation is attached."""
        await self._attached.wait()

    def kill(self) -> tuple[int, int]:
        """SIGKILL the incarnation there is; its pid and epoch. UserError if it is dead already."""
        current = self._current
        if current.child.status is not None:
            raise UserError(f"service OS {self.name} is dead already: it is being started again")
        self._killed_ns = time.monotonic_ns()
        current.child.kill()
        return current.child.pid, current.epoch

    def fail(self, epoch: int) -> None:
        """A device lost this incarnation: if it is still alive, a part of it is not. Kill it.

        A stream breaks when its process dies, and then this changes nothing; but also when the
        device's driver raised what it should not, or when the core would not believe an answer.
        """
        current = self._current
        if current.epoch == epoch and current.child.status is None:
            current.child.kill()

    async def end(self, patience: trio.CancelScope) -> None:
        """End the incarnation there is: SIGTERM, so that it flushes, then SIGKILL."""
        if self._incarnation is not None and self._incarnation.child.status is None:
            await self._incarnation.child.end(patience)
            self._tell_log()

    def status(self) -> operator.ServiceStatus:
        """For `service status`."""
        status = operator.ServiceStatus(
            name=self.name, deaths=self._deaths.count, last_death=self._deaths.last
        )
        incarnation = self._incarnation
        if incarnation is not None:
            status.epoch = incarnation.epoch
            status.pid = incarnation.child.pid
            if incarnation.child.status is not None:
                status.state = operator.SERVICE_DEAD
            elif self._attached.is_set():
                status.state = operator.SERVICE_SERVING
            if status.state != operator.SERVICE_DEAD:
                status.uptime_s = time.monotonic() - incarnation.born
        if self._last_outage is not None and self._last_outage.attached:
            status.last_outage_ms = self._last_outage.total_ms
        return status

    @property
    def _current(self) -> Incarnation:
        assert self._incarnation is not None, "launch comes first"
        return self._incarnation

    async def _launch(self) -> None:
        self._epoch += 1
        self._killed_ns = 0
        listen, grants = self._directory.service_sockets(self.name, self._epoch)
        token = secrets.token_hex(16)
        child = spawn(
            "service_os",
            [
                *("--name", self.name, "--epoch", str(self._epoch)),
                *("--listen", str(listen), "--grants", str(grants)),
            ],
            self._directory.log(f"{self.name}.{self._epoch}"),
            self._stdio,
            child_environment(token),
        )
        if self._cpus:
            with suppress(OSError):  # it has died already, or the host took the CPUs away
                os.sched_setaffinity(child.pid, self._cpus)
        endpoint = core.ServiceEndpoint(
            name=self.name,
            epoch=self._epoch,
            address=str(listen),
            grant_address=str(grants),
            token=token,
        )
        self._incarnation = Incarnation(self._epoch, child, endpoint, time.monotonic())
        await child.ready(START_DEADLINE)
        self._report(events.ServiceStarted(self.name, child.pid, self._epoch))

    async def _attach(self) -> core.ConnectReply:
        """Tell the core of the incarnation; StartError if it refuses or the incarnation dies."""
        current = self._current
        reply: core.ConnectReply | None = None
        problem = "died while its devices were being attached"
        async with trio.open_nursery() as nursery:

            async def give_up_at_death() -> None:
                await current.child.died()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up_at_death)
            try:
                reply = await self._connect(current.endpoint)
            except grpc.RpcError as error:
                problem = f"was refused by the core: {error.details()}"
            nursery.cancel_scope.cancel()
        if reply is None:
            raise StartError(problem)
        return reply

    async def _recover(self, outage: Outage) -> None:
        while True:
            try:
                await self._launch()
                outage.started = time.monotonic_ns()
                reply = await self._attach()
                break
            except StartError as error:
                await self._give_up(error)
        outage.attached = time.monotonic_ns()
        self._attached.set()
        problems = tuple(f"{p.guest}/{p.device}: {p.problem}" for p in reply.problems)
        self._report(
            events.ServiceRecovered(
                self.name, self._current.child.pid, self._epoch, reply.attached, problems, outage
            )
        )

    async def _give_up(self, error: StartError) -> None:
        self._report(events.ServiceFailed(self.name, self._epoch, str(error)))
        await self._bury()
        await trio.sleep(self._mourn())

    async def _bury(self) -> None:
        current = self._current
        await current.child.bury()
        self._tell_log()
        for path in (current.endpoint.address, current.endpoint.grant_address):
            Path(path).unlink(missing_ok=True)

    def _tell_log(self) -> None:
        for line in self._current.child.lines():
            self._report(events.ServiceSaid(self.name, line))

    def _mourn(self) -> float:
        """Record the death; the seconds to wait before the next start."""
        current = self._current
        how = current.child.how_it_died()
        delay = self._deaths.add(time.monotonic(), how)
        self._report(events.ServiceDied(self.name, current.child.pid, current.epoch, how, delay))
        return delay
