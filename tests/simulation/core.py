"""The core's side: its devices, who was told to begin, and devices that fail."""

from collections.abc import Callable, Iterator

from channels.failing import Failing
from microhypervisor.devices.served import ServedDevice
from microhypervisor.events import EventLog
from protos import core_pb2, io_pb2
from sessions.dialogue import Phase
from tests.simulation.line import Line, Port
from tests.simulation.service import Process
from tests.simulation.violation import check


class FailingProcess(Process):
    """The core itself as the other end of a stream, by the production's `channels.failing`."""

    def __init__(self, served: ServedDevice) -> None:
        super().__init__(0, 0)
        self.launched = True
        self._channel = Failing(served, core_pb2.ServiceEndpoint(), EventLog())
        self._answers = self._channel.exchange(self._feed())

    def _feed(self) -> Iterator[io_pb2.CoreMessage]:
        while True:
            yield self.streams[0].inbox.popleft()

    def step(self) -> bool:
        """Answer the next message, if there is one."""
        stream = self.streams[0]
        if not stream.inbox:
            return False
        stream.outbox.append(next(self._answers))
        return True


class Core:
    """Ports, and what is under way on behalf of callers. `tell` hears of events."""

    def __init__(self, tell: Callable[[int, Line, int, str], None]) -> None:
        self.ports: list[Port] = []
        self.lines: list[Line] = []  # that are not over
        self._tell = tell
        self.served_last = 0  # the greatest epoch that was connected
        self.serving = 0  # the same, and 0 once it is released
        self.begun: list[Process] = []  # all that were ever told to begin anything

    def tell(self, kind: int, line: Line, count: int, text: str = "") -> None:
        """An event of the core."""
        self._tell(kind, line, count, text)

    def begins(self, line: Line) -> None:
        """Begin was said: from now on this incarnation may change things."""
        for process in self.begun:
            check(
                process.reaped or process is line.process or not line.epoch,
                f"{line.port.key}: epoch {line.epoch} begins while {process} is not reaped",
            )
        if line.epoch and line.process not in self.begun:
            self.begun.append(line.process)
            line.process.begun = True

    def lost(self, line: Line, phase: Phase) -> None:
        """A stream broke that nobody ended; while somebody waits for it, he is told instead."""
        if line is line.port.standby or line is line.port.tried:
            if phase is Phase.OPENED:
                self.tell(core_pb2.EVENT_STANDBY_LOST, line, 0, line.problem)
        elif phase is Phase.ATTACHED:
            self.tell(core_pb2.EVENT_DEVICE_LOST, line, 0, line.problem)

    def add(self, port: Port, process: Process) -> Line:
        """A new device, served by the incarnation that serves."""
        self.ports.append(port)
        port.active = Line(self, port, process)
        port.active.begin()
        return port.active

    def fail(self, key: str, reason: str) -> None:
        """FailDevices, for one device."""
        port = next(port for port in self.ports if port.key == key)
        changed, port.failing = not port.failing, reason
        if changed:
            if port.active is not None:
                port.active.close("it fails", asked=True)
            port.work.may_fail = True
            port.active = Line(self, port, FailingProcess(port.served))
            port.active.begin()
