"""The supervisor's side: what recovery asks for is done later, what happens is told it later.

The state machine is the production's. Here are the processes that it launches and fences, the calls
to the core that it has under way, and the news that are on their way to it: the core's events in
their order, everything else in any.
"""

from collections import deque
from collections.abc import Callable

from protos import core_pb2 as c
from splitvisor.supervisor import steps
from splitvisor.supervisor.recovery import Recovery
from tests.simulation.calls import Call, ConnectCall, PrepareCall, ReleaseCall, RetryCall
from tests.simulation.core import Core
from tests.simulation.line import Line
from tests.simulation.service import Process
from tests.simulation.violation import check


class Keeper:
    """One service OS through all its incarnations; `now` is the world's time in nanoseconds."""

    def __init__(self, standby: bool, make: Callable[[int], Process]) -> None:
        self.core = Core(self._core_says)
        self.recovery = Recovery("main", standby)
        self.now = 0
        self.processes: list[Process] = []  # that are not reaped, oldest first
        self.fencing: list[Process] = []  # killed by order of recovery; Reaped is owed
        self.calls: list[Call] = []
        self.events: deque[steps.Event] = deque()  # of the core, in order
        self.news: list[steps.Event] = []  # other, in any order
        self.told: deque[object] = deque(maxlen=16)  # what an operator would read
        self.upgrades: list[str] = []  # how each ended
        self.culprits: set[str] | None = None  # who may be put in quarantine; None: anybody
        self._make = make
        self._epoch = 0
        self._connected: list[Process] = []
        self._dead: set[int] = set()  # epochs that recovery knows are lost

    def hear(self, event: steps.Event) -> None:
        """Something reaches the state machine."""
        if isinstance(event, (steps.Lost, steps.Reaped)):
            self._dead.add(event.epoch)
        for action in self.recovery.handle(event, self.now):
            self._do(action)

    def find(self, epoch: int) -> Process | None:
        """An incarnation that is not reaped."""
        return next((p for p in self.processes if p.epoch == epoch), None)

    def dies(self, process: Process) -> None:
        """It was killed by a signal or by itself; the supervisor will see it."""
        process.killed = True
        self.news.append(steps.Lost(process.epoch, dead=True))

    def reap(self, process: Process) -> None:
        """The fence is up: all of it is gone."""
        process.reap()
        self.fencing.remove(process)
        self.processes.remove(process)
        self.news.append(steps.Reaped(process.epoch, process.epoch, "signal 9 (SIGKILL)"))

    def finish_calls(self) -> list[Call]:
        """Bring calls forward, and answer those that are done; in which anything happened."""
        happened = []
        for call in list(self.calls):
            if call.done():
                self.calls.remove(call)
                self.news.append(self._answer(call))
                happened.append(call)
            elif call.moved:
                call.moved = False
                happened.append(call)
        return happened

    def _answer(self, call: Call) -> steps.Event:
        epoch, problems = call.process.epoch, call.problems()
        devices = len(call.lines) - len(problems)
        if isinstance(call, PrepareCall):
            return steps.Prepared(epoch, devices, problems)
        if isinstance(call, ConnectCall):
            return steps.Connected(epoch, devices, problems, call.guilty)
        if isinstance(call, RetryCall):
            return steps.Retried(epoch, call.served(), problems)
        return steps.Released(epoch)

    def give_up_release(self, call: ReleaseCall) -> bool:
        """The patience is over; whether that changes anything."""
        if not call.too_late():
            return False
        self.calls.remove(call)
        self.news.append(steps.ReleaseFailed(call.process.epoch, "requests are still in flight"))
        return True

    def _do(self, action: steps.Action) -> None:
        match action:
            case steps.Launch(epoch):
                check(epoch > self._epoch, f"epoch {epoch} is launched after {self._epoch}")
                self._epoch = epoch
                self.processes.append(self._make(epoch))
            case steps.Fence(epoch):
                process = self.find(epoch)
                check(process and process not in self.fencing, f"epoch {epoch} is fenced twice")
                process.killed = True
                self.fencing.append(process)
            case steps.Prepare(epoch):
                if process := self._alive(epoch, "prepared"):
                    self.calls.append(PrepareCall(self.core, process))
            case steps.Connect(epoch, one_by_one, withheld):
                if process := self._alive(epoch, "connected"):
                    for earlier in self._connected:
                        check(earlier.reaped, f"{process} is connected, {earlier} is not reaped")
                    self._connected = [process]
                    self.calls.append(ConnectCall(self.core, process, one_by_one, withheld))
            case steps.Release(epoch):
                if process := self._alive(epoch, "released"):
                    self.calls.append(ReleaseCall(self.core, process))
            case steps.Retry(epoch, devices):
                if process := self._alive(epoch, "asked for devices again"):
                    self.calls.append(RetryCall(self.core, process, devices))
            case steps.Fail(device, reason):
                check(
                    self.culprits is None or device in self.culprits,
                    f"{device} is put in quarantine, and has killed nobody",
                )
                self.core.fail(device, reason)
            case steps.Tell(event):
                self.told.append(event)
            case steps.UpgradeEnded(_, problem):
                self.upgrades.append(problem)
            case steps.GiveUp(why):
                check(False, f"gave up: {why}")

    def _alive(self, epoch: int, what: str) -> Process:
        check(epoch not in self._dead, f"epoch {epoch} is {what} though it was known to be lost")
        process = self.find(epoch)
        check(process is not None, f"epoch {epoch} is {what}, and nobody launched it")
        assert process is not None
        return process

    def _core_says(self, kind: int, line: Line, count: int, text: str) -> None:
        epoch, device = line.epoch, line.port.key
        if epoch == 0:
            return  # the core's own, which fails a device
        if kind == c.EVENT_DEVICE_ATTACHED:
            self.events.append(steps.DeviceAttached(epoch, device))
        elif kind == c.EVENT_DEVICE_REPLAYED:
            self.events.append(steps.DeviceReplayed(epoch, device, count, self.now))
        elif kind == c.EVENT_DEVICE_RESUMED:
            self.events.append(steps.DeviceResumed(epoch, self.now))
        elif kind in (c.EVENT_DEVICE_LOST, c.EVENT_STANDBY_LOST):
            self.events.append(steps.Lost(epoch, f"{device}: {text}"))
