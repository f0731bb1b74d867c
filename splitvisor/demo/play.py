"""What happens in the demo, in order: work, three blows to the service OS, the verdicts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from splitvisor.cli.narrate import describe, is_stall
from splitvisor.demo.conversation import Conversation
from splitvisor.demo.scene import Scene
from splitvisor.demo.stage import Stage, percent
from splitvisor.demo.strikes import Recovery, Strike
from splitvisor.machine import DEFAULT_SERVICE
from splitvisor.supervisor import events
from splitvisor.supervisor.failure import MachineError
from splitvisor.supervisor.supervisor import Supervisor

# Signals, and after which part of blockcheck's requests: in the midst of its work, each of them.
STRIKES = (("SIGKILL", 0.25), ("SIGSTOP", 0.5), ("SIGKILL", 0.75))
SIGNALS = {"SIGKILL": faults.KILL, "SIGSTOP": faults.STOP}
# A batch is done within a millisecond. This one takes longer, so that a blow finds it.
LONG_REQUEST = faults.Fault(
    action=faults.SLOW,
    point=faults.AFTER_EXECUTE,
    guest="blockcheck",
    device="disk0",
    delay_us=40_000,
    times=1,
)
GRACE = 0.1  # of blockcheck's requests: for so long a strike waits for a standby to be there
TRIES = 5  # for each strike to leave something that has to be replayed
LOOK = 0.005  # seconds between two looks at the machine before a strike
TALK = 0.25  # seconds between two lines to echo
PATIENCE = 60.0  # seconds for a recovery, on the slowest of hosts
_KNOWN = (events.ServiceAttached, events.FaultInjected, events.ServiceSuspected)


@dataclass(frozen=True, slots=True)
class _InHand:
    """The service OS that serves, and what it has to do."""

    pid: int
    in_flight: int  # disk requests
    replayed: int  # disk requests, ever


@dataclass(slots=True)
class Outcome:
    """What came of it; filled in while the play goes on."""

    statuses: dict[str, core.GuestStatus] = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    lines_sent: int = 0
    lines_returned: int = 0

    def all_exited_well(self) -> bool:
        """Whether each guest exited with status 0."""
        return all(
            status.end_reason == core.END_EXIT and status.exit_status == 0
            for status in self.statuses.values()
        )

    def all_recovered(self) -> bool:
        """Whether each strike came, was recovered from, and left disk requests to replay."""
        met = Counter(r.strike.signal for r in self.recoveries if r.strike and r.disk_requests)
        return met >= Counter(signal for signal, _ in STRIKES)


class Play:
    """The body of the demo's supervisor, and the listener to its events."""

    def __init__(self, scene: Scene, stage: Stage, conversation: Conversation) -> None:
        self.outcome = Outcome()
        self._scene = scene
        self._stage = stage
        self._conversation = conversation
        self._strike: Strike | None = None
        self._recovered = trio.Event()
        self._done = 0

    def report(self, event: events.SupervisorEvent) -> None:
        """Tell what the supervisor reports, and remember what the end needs."""
        if isinstance(event, events.ServiceRecovered):
            self.outcome.recoveries.append(Recovery(self._strike, event.pid, event.outage))
            self._strike = None
            self._recovered.set()
        if not _is_noise(event) and (line := describe(event)):
            self._stage.say(line, _style(event))

    async def __call__(self, supervisor: Supervisor) -> None:
        """Until blockcheck has ended, and the others after it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, supervisor)
            nursery.start_soon(self._talk)
            nursery.start_soon(self._strike_all, supervisor)
            await self._end_of(supervisor, "blockcheck")
            async with self._conversation.quiet:
                nursery.cancel_scope.cancel()
        self._conversation.end()
        for name in ("echo", "hello"):
            await self._end_of(supervisor, name)
        self.outcome.lines_sent = self._conversation.sent
        self.outcome.lines_returned = self._conversation.returned
        machine = await supervisor.status()
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

    async def _strike_all(self, supervisor: Supervisor) -> None:
        for signal, part in STRIKES:
            for _ in range(TRIES):
                await self._good_moment(supervisor, round(part * self._scene.requests))
                recovery = await self._strike_once(supervisor, signal)
                if recovery is None or recovery.disk_requests:
                    break

    async def _good_moment(self, supervisor: Supervisor, begin: int) -> None:
        """Wait until so many requests are done, and if there is time until somebody stands by."""
        while True:
            await trio.sleep(LOOK)
            machine = await supervisor.status()
            done = self._done_of(machine.guests)
            (service,) = machine.services
            warm = service.standby.state == operator.STANDBY_READY
            late = done >= begin + GRACE * self._scene.requests
            if done >= begin and service.state == operator.SERVICE_SERVING and (warm or late):
                return

    async def _strike_once(self, supervisor: Supervisor, signal: str) -> Recovery | None:
        """None if blockcheck has ended before."""
        async with self._conversation.quiet:
            in_hand = await self._requests_in_hand(supervisor)
            if in_hand is None:
                return None
            at = percent(self._done, self._scene.requests)
            self._recovered = trio.Event()
            self._strike = Strike(signal, in_hand.pid, at, in_hand.in_flight)
            await _inject(supervisor, faults.Fault(action=SIGNALS[signal]))
            self._stage.say(
                f"{signal} to the service OS, pid {in_hand.pid}, at {at}, "
                f"{in_hand.in_flight} disk requests in flight",
                "bold red",
            )
            with trio.move_on_after(PATIENCE):
                await self._recovered.wait()
        if not self._recovered.is_set():
            raise MachineError(f"no service OS took over within {PATIENCE:.0f} s")
        recovery = self.outcome.recoveries[-1]
        _, replayed = _of_disks(await supervisor.guests.statuses())
        recovery.disk_requests = replayed - in_hand.replayed
        return recovery

    async def _requests_in_hand(self, supervisor: Supervisor) -> _InHand | None:
        """Have the service OS take so long for a request that it is still there after a look."""
        await _inject(supervisor, LONG_REQUEST)
        while True:
            machine = await supervisor.status()
            self._done_of(machine.guests)
            in_flight, replayed = _of_disks(machine.guests)
            if in_flight:
                return _InHand(machine.services[0].pid, in_flight, replayed)
            if any(g.name == "blockcheck" and g.state == core.GUEST_ENDED for g in machine.guests):
                return None
            await trio.sleep(LOOK)

    def _done_of(self, guests: Iterable[core.GuestStatus]) -> int:
        for guest in guests:
            if guest.name == "blockcheck":
                self._done = sum(d.completions for d in guest.devices if d.name == "disk0")
        return self._done


async def _inject(supervisor: Supervisor, fault: faults.Fault) -> None:
    await supervisor.inject_fault(operator.FaultRequest(service=DEFAULT_SERVICE, fault=fault))


def _of_disks(guests: Iterable[core.GuestStatus]) -> tuple[int, int]:
    """How many requests of all disks are in flight, and how many were ever replayed."""
    disks = [d for guest in guests for d in guest.devices if d.model == "block"]
    return sum(disk.in_flight for disk in disks), sum(disk.replayed for disk in disks)


def _is_noise(event: events.SupervisorEvent) -> bool:
    """What is told by another event at once, or would be a line for each of many devices."""
    if isinstance(event, events.GuestEvent):
        inner = event.event
        if _is_replay(inner):
            return inner.count == 0
        return is_stall(event) or inner.kind in (
            *(core.EVENT_DEVICE_ATTACHED, core.EVENT_DEVICE_LOST, core.EVENT_DEVICE_RESUMED),
        )
    if isinstance(event, events.ServiceStarted):
        return event.standby
    return isinstance(event, _KNOWN)


def _is_replay(event: core.Event) -> bool:
    return event.kind == core.EVENT_DEVICE_REPLAYED


def _style(event: events.SupervisorEvent) -> str:
    if isinstance(event, events.ServiceDied | events.ServiceDetected):
        return "bold red"
    if isinstance(event, events.GuestEvent) and _is_replay(event.event):
        return "bold green"
    return "bold green" if isinstance(event, events.ServiceRecovered) else ""
