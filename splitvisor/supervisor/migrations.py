"""Disks that move to other drivers while their guests use them, each in three swaps.

First `block.migrate` takes the old driver's place and copies (see there). When it says that all is
copied, `block.pivot` takes its place, which is the moment of truth: it begins only if that is still
so when the last request is done, and otherwise the copy goes on. Then the new driver by itself.

The device's spec says at each moment who is to serve it, so a service OS that dies comes back in
the step where it was, and the copy starts over. What was asked for meanwhile is tried again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from drivers import registry
from drivers.interface import DriverError
from drivers.rooting import rooted
from drivers.spec import Spec, parse
from protos import operator_pb2 as operator
from protos.io_pb2 import ProgressReply
from splitvisor.claims import keep_of, refuse_shared_files
from splitvisor.errors import UserError
from splitvisor.machine import Machine, Model
from splitvisor.supervisor import events
from splitvisor.supervisor.swaps import Swaps, find, with_spec

LOOK = 0.2  # seconds between two looks
AWAY = 10.0  # seconds that a disk may report nothing while others are served
PIVOTS = 10  # that may fail
RETURNS = 100  # to a driver, LOOK apart


class Keeper(Protocol):
    """What is needed of who keeps a service OS."""

    async def progress(self, device: str) -> ProgressReply | None:
        """What the driver of guest/device reports, if it does; UserError if nobody serves."""


@dataclass
class _Move:
    """One migration."""

    device: str
    service: str
    old: str
    new: str
    began: float = field(default_factory=time.monotonic)
    took: float | None = None
    state: operator.MigrationState.ValueType = operator.MIGRATION_COPYING
    done: int = 0
    total: int = 0
    problem: str = ""
    pause_ns: int = 0
    abort: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)

    def message(self) -> operator.Migration:
        """As operators get it."""
        told = operator.Migration(device=self.device, old=self.old, new=self.new, state=self.state)
        told.done, told.total, told.problem = self.done, self.total, self.problem
        told.for_s = time.monotonic() - self.began if self.took is None else self.took
        told.pause_ms = self.pause_ns / 1e6
        return told


class Migrations:
    """Of one machine."""

    def __init__(
        self,
        swaps: Swaps,
        services: Mapping[str, Keeper],
        tell: Callable[[events.ServiceEvent, int], None],
    ) -> None:
        self._swaps = swaps
        self._services = services
        self._tell = tell
        self._moves: dict[str, _Move] = {}  # the last of each device
        self._nursery: trio.Nursery | None = None

    async def keep(self) -> None:
        """For as long as the machine runs."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def under_way(self, service: str) -> list[operator.Migration]:
        """Of the devices of a service OS."""
        moves = [m for m in self._moves.values() if m.service == service and not m.ended.is_set()]
        return [move.message() for move in moves]

    def last(self, device: str) -> operator.Migration:
        """The last of a device; UserError if there was none."""
        return self._find(device).message()

    async def begin(self, request: operator.MigrateRequest) -> operator.Migration:
        """Have a disk move; comes back when it is being copied. UserError if that cannot be."""
        device, moving = request.device, self._swaps.moving
        if self._nursery is None:
            raise UserError("the machine is starting: ask again in a moment")
        if device in moving:
            raise UserError(f"device {device} is being copied already")
        _, served = find(self._swaps.machine, device)
        move = _Move(device, served.service, served.spec, request.spec)
        before = self._moves.get(device)
        moving.add(device)
        self._moves[device] = move
        try:
            through = await self._divert(move, request)
        except BaseException:
            moving.discard(device)
            del self._moves[device]
            if before is not None:
                self._moves[device] = before
            move.state = operator.MIGRATION_ABORTED
            move.ended.set()
            raise
        self._nursery.start_soon(self._run, move, through)
        return move.message()

    async def _divert(self, move: _Move, request: operator.MigrateRequest) -> str:
        """Have the disk served by the driver that copies it; that one's spec."""
        planned: list[Plan] = []

        def plan(machine: Machine) -> Machine:
            planned.append(Plan(machine, request))
            return planned[0].after

        told = await self._swaps.change(move.device, plan)
        move.old, move.new, move.pause_ns = planned[0].old, planned[0].new, told.pause_ns
        begun = events.DiskMigrating(move.service, move.device, move.old, move.new)
        self._tell(begun, time.monotonic_ns())
        return planned[0].through

    async def abort(self, device: str) -> operator.Migration:
        """End one; comes back when it has ended, as aborted or done. UserError if there is none."""
        move = self._find(device)
        if move.ended.is_set():
            raise UserError(f"device {device} is not being copied: that has ended")
        move.abort.set()
        await move.ended.wait()
        return move.message()

    def _find(self, device: str) -> _Move:
        find(self._swaps.machine, device)
        if device not in self._moves:
            raise UserError(f"device {device} is not being copied")
        return self._moves[device]

    async def _run(self, move: _Move, through: str) -> None:
        try:
            if why := await self._copy(move):
                move.state = operator.MIGRATION_ABORTING
                left = await self._insist(move, move.old)
                stays = f"; it is served by {through} still, for: {left}" if left else ""
                aborted = move.abort.is_set() and not move.problem and not left
                move.problem = "" if aborted else f"{why}{stays}"
                state = operator.MIGRATION_ABORTED if aborted else operator.MIGRATION_FAILED
            elif left := await self._insist(move, move.new):
                cure = f"'splitvisor driver swap {move.device}' with {move.new} does the rest"
                move.problem = f"all is copied and served from there, but: {left}; {cure}"
                state, why = operator.MIGRATION_FAILED, move.problem
            else:
                state = operator.MIGRATION_DONE
            move.took = time.monotonic() - move.began
            move.state = state
            self._tell(self._ended(move, why), time.monotonic_ns())
        finally:
            self._swaps.moving.discard(move.device)
            move.ended.set()

    def _ended(self, move: _Move, why: str) -> events.ServiceEvent:
        if move.state == operator.MIGRATION_DONE:
            took = round((move.took or 0.0) * 1e9)
            return events.DiskMigrated(move.service, move.device, move.old, move.new, took)
        return events.DiskMigrationFailed(move.service, move.device, move.problem or why)

    async def _copy(self, move: _Move) -> str:
        """Until all is copied and served from there: then "", otherwise why it is not to be."""
        pivot = str(Spec("pivot", {"child": move.new}))
        pivots, seen = 0, trio.current_time()
        while not move.abort.is_set():
            try:
                report = await self._services[move.service].progress(move.device)
            except UserError:  # it is being recovered, for however long
                report, seen = None, trio.current_time()
            if report is not None:
                seen = trio.current_time()
                move.done, move.total = report.done, report.total
                if report.problem:
                    move.problem = report.problem
                    return report.problem
                if report.complete:
                    move.state = operator.MIGRATION_PIVOTING
                    problem = await self._change(move, pivot)
                    if not problem:
                        return ""
                    pivots += 1
                    if pivots == PIVOTS:
                        move.problem = problem
                        return problem
                    move.state = operator.MIGRATION_COPYING
            elif trio.current_time() - seen > AWAY:
                move.problem = "the disk is not served"
                return move.problem
            with trio.move_on_after(LOOK):
                await move.abort.wait()
        return "an operator ended it"

    async def _insist(self, move: _Move, spec: str) -> str:
        """Change the driver, in more than one try if need be; why it cannot be at last, or ""."""
        problem = ""
        for _ in range(RETURNS):
            if not (problem := await self._change(move, spec)):
                return ""
            await trio.sleep(LOOK)
        return problem

    async def _change(self, move: _Move, spec: str) -> str:
        """Another driver for the device; why it has none, or "" if it has."""

        def plan(machine: Machine) -> Machine:
            return with_spec(machine, *find(machine, move.device), spec)

        try:
            told = await self._swaps.change(move.device, plan)
        except UserError as error:
            return str(error)
        move.pause_ns = max(move.pause_ns, told.pause_ns)
        return ""


class Plan:
    """What a migration comes to; UserError for what can be known to be wrong.

    `after` is the machine while the disk is copied, by the driver `through`.
    """

    def __init__(self, machine: Machine, request: operator.MigrateRequest) -> None:
        guest, device = find(machine, request.device)
        if device.model is not Model.BLOCK:
            raise UserError(f"device {request.device} has no content to copy: swap its driver")
        kind, keep = device.model.driver_kind, keep_of(guest.name, device.name)
        self.old = device.spec
        if (served := parse(self.old)).driver == "pivot":
            cure = f"'splitvisor driver swap {request.device} {served.options['child']}' first"
            raise UserError(f"device {request.device} is not done with its last copy: {cure}")
        try:
            self.new = rooted(kind, request.spec, Path(request.root))
            registry.check(kind, self.new)
            words: dict[str, str | None] = {"source": self.old, "target": self.new}
            if request.rate:
                words["rate"] = str(request.rate)
            self.through = str(Spec("migrate", words))
            registry.check(kind, self.through)
            was, becomes = (registry.content(kind, one, keep) for one in (self.old, self.new))
            if was and was == becomes:
                cure = "swap the driver without a copy"
                raise UserError(f"device {request.device}: {self.new} serves the same: {cure}")
            self.after = with_spec(machine, guest, device, self.through)
            refuse_shared_files(self.after)
        except DriverError as error:
            raise UserError(f"device {request.device}: {error}") from None
