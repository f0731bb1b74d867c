"""What happens in the demo, in order: work, a kill in the middle, recovery, the verdicts."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from protos import core_pb2 as core
from splitvisor.cli.narrate import describe, outage_steps
from splitvisor.demo.conversation import Conversation
from splitvisor.demo.scene import Scene
from splitvisor.demo.stage import Stage, percent
from splitvisor.machine import DEFAULT_SERVICE
from splitvisor.supervisor import events
from splitvisor.supervisor.deaths import Outage
from splitvisor.supervisor.supervisor import Supervisor

KILL_AT = 0.45  # of blockcheck's requests: in the midst of writes, whatever the passes
LOOK = 0.01  # seconds between two looks at blockcheck's progress before the kill
TALK = 0.25  # seconds between two lines to echo


@dataclass(slots=True)
class Outcome:
    """What came of it; filled in while the play goes on."""

    statuses: dict[str, core.GuestStatus] = field(default_factory=dict)
    killed_pid: int = 0
    served_pid: int = 0  # of the incarnation that took over
    outage: Outage | None = None
    replayed: int = 0
    lines_sent: int = 0
    lines_returned: int = 0

    def all_exited_well(self) -> bool:
        """Whether each guest exited with status 0."""
        return all(
            status.end_reason == core.END_EXIT and status.exit_status == 0
            for status in self.statuses.values()
        )


class Play:
    """The body of the demo's supervisor, and the listener to its events."""

    def __init__(self, scene: Scene, stage: Stage, conversation: Conversation) -> None:
        self.outcome = Outcome()
        self._scene = scene
        self._stage = stage
        self._conversation = conversation
        self._recovered = trio.Event()
        self._done = 0

    def report(self, event: events.SupervisorEvent) -> None:
        """Tell what the supervisor reports, and remember what the end needs."""
        match event:
            case events.ServiceRecovered(_, pid, _, _, _, outage):
                self.outcome.outage = outage
                self.outcome.served_pid = pid
                self._recovered.set()
            case events.GuestEvent(inner) if _is_noise(inner):
                return
        if line := describe(event):
            style = "bold red" if isinstance(event, events.ServiceDied) else ""
            self._stage.say(line, "bold green" if self._is_recovery(event) else style)

    async def __call__(self, supervisor: Supervisor) -> None:
        """Until blockcheck has ended, and the others after it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, supervisor)
            nursery.start_soon(self._talk)
            nursery.start_soon(self._kill_once, supervisor)
            await self._end_of(supervisor, "blockcheck")
            async with self._conversation.quiet:
                nursery.cancel_scope.cancel()
        self._conversation.end()
        for name in ("echo", "hello"):
            await self._end_of(supervisor, name)
        self.outcome.lines_sent = self._conversation.sent
        self.outcome.lines_returned = self._conversation.returned
        machine = await supervisor.status()
        self.outcome.replayed = sum(
            device.replayed for guest in machine.guests for device in guest.devices
        )
        self._stage.show(machine, self._done_of(machine.guests), self._scene.requests)

    async def _end_of(self, supervisor: Supervisor, guest: str) -> None:
        self.outcome.statuses[guest] = await supervisor.guests.wait(guest)

    async def _show(self, supervisor: Supervisor) -> None:
        while True:
            machine = await supervisor.status()
            self._stage.show(machine, self._done_of(machine.guests), self._scene.requests)
            await trio.sleep(self._stage.refresh)

    async def _talk(self) -> None:
        await self._conversation.begin()
        while True:
            await self._conversation.say(f"line {self._conversation.sent + 1}")
            await trio.sleep(TALK)

    async def _kill_once(self, supervisor: Supervisor) -> None:
        while self._done_of(await supervisor.guests.statuses()) < KILL_AT * self._scene.requests:
            await trio.sleep(LOOK)
        async with self._conversation.quiet:
            in_flight = await self._catch_in_the_act(supervisor)
            if not in_flight:
                return
            pid, epoch = await supervisor.kill_service(DEFAULT_SERVICE)
            self.outcome.killed_pid = pid
            self._stage.say(
                f"SIGKILL to the service OS, pid {pid} (epoch {epoch}), at "
                f"{percent(self._done, self._scene.requests)}, {in_flight} disk requests in flight",
                "bold red",
            )
            await self._recovered.wait()

    async def _catch_in_the_act(self, supervisor: Supervisor) -> int:
        """Leave the service OS stopped with disk requests in its hands; how many.

        None if the guest has ended before. It answers a batch within a millisecond, so a kill at
        any odd moment may well find nothing to replay. Stopped, it holds still while we look.
        """
        while True:
            (service,) = (await supervisor.status()).services
            _signal(service.pid, signal.SIGSTOP)
            caught = 0
            try:
                guests = await supervisor.guests.statuses()
                self._done_of(guests)
                caught = sum(
                    d.in_flight for guest in guests for d in guest.devices if d.model == "block"
                )
            finally:
                if not caught:
                    _signal(service.pid, signal.SIGCONT)
            if caught:
                return caught
            if any(g.name == "blockcheck" and g.state == core.GUEST_ENDED for g in guests):
                self._stage.say("blockcheck ended before the kill", "bold red")
                return 0
            await trio.sleep(LOOK)

    def _done_of(self, guests: Iterable[core.GuestStatus]) -> int:
        for guest in guests:
            if guest.name == "blockcheck":
                self._done = sum(d.completions for d in guest.devices if d.name == "disk0")
        return self._done

    @staticmethod
    def _is_recovery(event: events.SupervisorEvent) -> bool:
        if isinstance(event, events.GuestEvent):
            return event.event.kind == core.EVENT_DEVICE_REPLAYED
        return isinstance(event, events.ServiceRecovered)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # somebody else killed it
        os.kill(pid, number)


def _is_noise(event: core.Event) -> bool:
    """One line for each of many devices is too much: the supervisor tells the same at once."""
    if event.kind == core.EVENT_DEVICE_REPLAYED:
        return event.count == 0
    return event.kind in (core.EVENT_DEVICE_ATTACHED, core.EVENT_DEVICE_LOST)


def outage_line(outcome: Outcome) -> str:
    """What the kill cost."""
    if outcome.outage is None:
        return "the service OS was not replaced"
    return (
        f"pid {outcome.killed_pid} killed, pid {outcome.served_pid} took over: "
        f"outage {outcome.outage.total_ms:.0f} ms ({outage_steps(outcome.outage)}), "
        f"{outcome.replayed} requests in flight replayed"
    )
