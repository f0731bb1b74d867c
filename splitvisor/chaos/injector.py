"""Carries the faults of a schedule out on a machine, and remembers at whom each was aimed."""

import math
import os
import re
import signal
import time
from collections import Counter
from contextlib import suppress
from functools import partial

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.schedule import Injection
from splitvisor.chaos.witness import Incarnation
from splitvisor.testing.events import Event
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.machine import Machine

BITE = 3.0  # seconds for a failpoint to be passed; storm passes most of them within milliseconds
LOOK = 0.1  # seconds between looks at a fault that may be survived
RECOVERY = 30.0
OVERWRITTEN = 64  # requests after a failover until a zombie's blocks count as written by others
RECENT = 500  # events among which a death is looked for
LONGEST_WAIT = 0.04  # after a standby is ready
NOTICE = 30.0  # for a fault that has acted to be noticed on a host that is overloaded
_SURVIVED = ("garble",)  # maybe: what is wrong with an answer may not matter
_CONDITIONAL = ("kill-recovery",)  # acts only if the one that it is aimed at takes over
_ORDERED = "disk0"  # whose answers come in turn: the next one proves that none is missing
_LOST = ("fenced", "standby-lost", "start-failed")
_ORDERLY = ("swap", "upgrade")
_HARMLESS = ("slow", "leak", "swap", "upgrade", "kill-standby")
_LIMITED = "throttle:iops=10000000,child=({})"  # more than there ever are
_LIMITED_BY = re.compile(re.escape(_LIMITED).replace(re.escape("{}"), "(.*)"))
_FROM_WITHIN = {"zombie": "stop"}  # kinds by another name


class Injector:
    """One machine's worth of faults."""

    def __init__(self, plan: Plan, machine: Machine) -> None:
        self.aimed: dict[Incarnation, str] = {}
        self.drawn: Counter[str] = Counter()  # by kind
        self.done: Counter[str] = Counter()  # of these, those that were not refused
        self.idle: Counter[str] = Counter()  # that met nothing, by kind
        self.survived: Counter[str] = Counter()  # that acted, and the machine went on serving
        self.refused: list[str] = []  # for their moment
        self.zombies = 0
        # That were still there to be continued. None should be: fencing kills them before another
        # one serves. If one is, that it does no harm is for the judges of disks and guests to see.
        self.zombies_alive = 0
        self._spared: dict[Incarnation, float] = {}  # until when they may yet die of their fault
        self._armed: dict[Incarnation, int] = {}  # the number of the last fault; 0 for a signal
        self._plan = plan
        self._machine = machine

    def carry_out(self, fault: Injection) -> None:
        """Inject it; unless faults come at fixed times, wait for what comes of it.

        MachineFailure if that does not come, or if it is refused without need.
        """
        service = self._plan.server(fault.guest)
        before = self._machine.service(service)
        self._acquit(before)
        self.drawn[fault.kind] += 1
        with _Handle(before.pid) as handle:
            try:
                targets = self._inject(fault, service, before)
            except MachineFailure as problem:
                if not self._untimely(fault, before):
                    raise MachineFailure(f"{fault}: {problem}") from None
                self.refused.append(f"{fault}: {problem}")
                return
            self.done[fault.kind] += 1
            if fault.kind == "zombie":
                self._zombie(fault, service, targets, handle)
            elif self._plan.every is None and fault.kind not in _HARMLESS:
                self._await(fault, service, targets)

    def _acquit(self, serving: operator.ServiceStatus) -> None:
        """What an incarnation has survived for so long is not what it dies of later."""
        incarnation = (serving.name, serving.epoch)
        over = time.monotonic() >= self._spared.get(incarnation, math.inf)
        if over and serving.state == operator.SERVICE_SERVING:
            del self._spared[incarnation], self.aimed[incarnation]

    def _untimely(self, fault: Injection, before: operator.ServiceStatus) -> bool:
        """Whether its moment is why it was refused: a standby was missing, say, or one had died.

        What is done in order has no such reason while the same incarnation serves all the time and
        nothing is aimed at it. MachineFailure if the machine is what failed.
        """
        now = self._machine.service(before.name)
        if fault.kind not in _ORDERLY or self._has_ended(fault):
            return True
        serving = (operator.SERVICE_SERVING, before.epoch)
        served = (before.state, before.epoch) == (now.state, now.epoch) == serving
        return not served or (before.name, before.epoch) in self.aimed

    def _inject(
        self, fault: Injection, service: str, before: operator.ServiceStatus
    ) -> list[Incarnation]:
        """Inject it; whom it was aimed at."""
        standby = before.standby.state == operator.STANDBY_READY
        match fault.kind:
            case "swap":
                self._swap(f"{self._plan.guest_names()[fault.guest]}/{fault.device}")
                return []
            case "upgrade":
                self._machine.upgrade(service)
                return []
            case "kill-standby" if not standby:
                raise MachineFailure(f"service OS {service} has no standby at this moment")
            case "kill-standby":
                return [self._signal(fault.kind, service, True)]
            case "kill-both" | "kill-recovery" if not standby:
                return [self._signal(fault.kind, service, False)]
            case "kill-both":
                killed = self._signal(fault.kind, service, True)
                return [killed, *self._kill_too(fault.kind, service)]
            case "kill-recovery":
                armed = self._fail(fault, "kill", service, True)
                return [armed, *self._kill_too(fault.kind, service)]
        action = _FROM_WITHIN.get(fault.kind, fault.kind)
        if not fault.at:
            return [self._signal(fault.kind, service, False, action)]
        return [self._fail(fault, action, service, False)]

    def _kill_too(self, kind: str, service: str) -> list[Incarnation]:
        """The one that serves, if it is not dead already: half of the fault is done anyhow."""
        with suppress(MachineFailure):
            return [self._signal(kind, service, False)]
        return []

    def _swap(self, device: str) -> None:
        """A disk that can tell its content gets a limit, or loses it; else the same driver anew."""
        spec = self._machine.device(device).spec
        if limited := _LIMITED_BY.fullmatch(spec):
            spec = limited[1]
        elif device.endswith("/disk0") and self._plan.disk is not Disk.POWERCUT:
            spec = _LIMITED.format(spec)
        self._machine.swap(device, spec)

    def _signal(self, kind: str, service: str, standby: bool, action: str = "kill") -> Incarnation:
        return self._aim(
            kind, service, self._machine.fault(action, service=service, standby=standby)
        )

    def _fail(self, fault: Injection, action: str, service: str, standby: bool) -> Incarnation:
        reply = self._machine.fault(
            action,
            at=fault.at,
            device=f"{self._plan.guest_names()[fault.guest]}/{fault.device}",
            service=service,
            standby=standby,
            nth=fault.nth,
            times=1,
            by=fault.by,
            size=fault.size,
            how=fault.how,
            seed=fault.number,
        )
        return self._aim(fault.kind, service, reply)

    def _aim(self, kind: str, service: str, reply: operator.FaultReply) -> Incarnation:
        incarnation = (service, reply.epoch)
        if kind not in ("slow", "leak"):
            self.aimed[incarnation] = kind
            self._armed[incarnation] = reply.id
            self._spared.pop(incarnation, None)  # from here on it may die of this one
        return incarnation

    def _await(self, fault: Injection, service: str, targets: list[Incarnation]) -> bool:
        """Until all that were aimed at are dead, and another one serves; whether that came.

        MachineFailure if a fault that nobody survives has acted and nobody noticed.
        """
        for target in targets:
            if fault.kind in _SURVIVED:
                lost = self._bites(fault, service, target)
            else:
                lost = bool(self._machine.story.wait(partial(self._lost, target), BITE))
            if lost:
                continue
            acted = fault.kind not in _CONDITIONAL and self._has_acted(service, target)
            if not acted or fault.kind in _SURVIVED:
                (self.survived if acted else self.idle)[fault.kind] += 1
                self._machine.clear_faults(service)
                self._spared[target] = time.monotonic() + NOTICE
                return False
            self._machine.wait_until(
                f"anybody to notice {fault}", partial(self._lost, target), NOTICE
            )
        self._machine.wait_until("the recovery", lambda: self._serves(service) or None, RECOVERY)
        return True

    def _bites(self, fault: Injection, service: str, target: Incarnation) -> bool:
        """Whether its target dies within BITE; sooner if the disk goes on without harm.

        That is proved by more requests than were in flight when it had acted. Other devices may
        answer what comes later first, so there a lost answer shows only when patience is over.
        """
        device = f"{self._plan.guest_names()[fault.guest]}/{fault.device}"
        proof: int | None = None  # completions, once it has acted
        until = time.monotonic() + BITE
        while (left := until - time.monotonic()) > 0:
            if self._machine.story.wait(partial(self._lost, target), min(LOOK, left)):
                return True
            if fault.device != _ORDERED or not self._has_acted(service, target):
                continue
            completions = self._machine.device(device).completions
            if proof is None:
                proof = completions + 2 * self._plan.depth
            elif completions >= proof:
                break
        return self._lost(target) is not None

    def _has_acted(self, service: str, target: Incarnation) -> bool:
        """Whether its fault has acted; also if it answers no more. Signals always have."""
        number = self._armed.get(target)
        try:
            armed = self._machine.faults(service) if number else []
        except MachineFailure:
            return True
        return not number or any(one.acted for one in armed if one.id == number)

    def _lost(self, incarnation: Incarnation) -> Event | None:
        """How it was told that it is dead."""
        recent = self._machine.story.events[-RECENT:]
        told = ((event.service, event.epoch) == incarnation for event in recent)
        return next(
            (e for e, its in zip(recent, told, strict=True) if its and e.kind in _LOST), None
        )

    def _serves(self, service: str) -> bool:
        return self._machine.service(service).state == operator.SERVICE_SERVING

    def _zombie(
        self, fault: Injection, service: str, targets: list[Incarnation], handle: "_Handle"
    ) -> None:
        """Let others write the same blocks, then continue the one that was stopped."""
        if not self._await(fault, service, targets):
            return
        guest = self._plan.guest_names()[fault.guest]
        wanted = self._machine.device(f"{guest}/disk0").completions + OVERWRITTEN

        def look() -> bool | None:
            if self._has_ended(fault):
                return False
            return self._machine.device(f"{guest}/disk0").completions >= wanted or None

        if not self._machine.wait_until("requests after a failover", look, RECOVERY):
            return
        self.zombies_alive += handle.go_on()
        self.zombies += 1

    def _has_ended(self, fault: Injection) -> bool:
        """Whether the guest has that it is meant for."""
        guest = self._machine.guest(self._plan.guest_names()[fault.guest])
        return guest.status().state == core.GUEST_ENDED


class _Handle:
    """A process, whatever becomes of its pid."""

    def __init__(self, pid: int) -> None:
        self._fd = -1
        with suppress(OSError):  # there is none at this moment
            self._fd = os.pidfd_open(pid)

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def go_on(self) -> bool:
        """SIGCONT; whether there still was somebody to get it."""
        if self._fd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._fd, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return True


def pause(machine: Machine, plan: Plan, fault: Injection, began: float, until: float) -> None:
    """Wait for the time of a fault: its own, or a moment after all standbys are ready.

    Its own is `until` at the latest: a round that is shorter has its only one at the end.
    """
    if plan.every is None:
        machine.wait_for_standby(RECOVERY)
        time.sleep(fault.wait * LONGEST_WAIT)
    else:
        due = began + plan.every * (fault.number + 0.5 + fault.wait)
        time.sleep(max(min(due, until) - time.monotonic(), 0))
