"""The core's side: which incarnation serves which device, over streams that the world delivers.

The devices, their logs and the dialogues are the production's. What stands in for `Session` and
`ServiceDirectory` is here, because those are threads and descriptors: a line is a dialogue and a
stream, woken by the doorbell; and the calls of core.proto that recovery makes.
"""

import mmap
from collections.abc import Callable, Iterator
from typing import Any

from channels.failing import Failing
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.events import EventLog
from microhypervisor.inflight import InFlight
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2
from service_os.window import Window
from sessions.dialogue import Dialogue, Phase
from tests.simulation.service import Process, Stream
from tests.simulation.violation import check

STRIDE = 2048  # of a slot; what is larger travels inline
TOKEN = "token"
E = core_pb2


class Port:
    """A device and the two lines it may have; `work` is the guest's side."""

    def __init__(self, served: VirtioDevice, work: Any, slots: int, make: Callable[[], Any]):
        self.served = served
        self.name = served.config.name
        self.key = f"{served.guest}/{self.name}"
        self.work = work
        self.slots = slots  # of its window; 0: payload travels inline
        self.make_driver = make
        self.active: Line | None = None
        self.standby: Line | None = None
        self.failing = ""  # why its requests fail
        served.ring = self._ring  # type: ignore[method-assign]

    def _ring(self) -> None:
        if self.active is not None:
            self.active.awake = True

    def line_of(self, epoch: int) -> "Line | None":
        """The line to that incarnation, if there is one."""
        for line in (self.active, self.standby):
            if line is not None and line.epoch == epoch:
                return line
        return None


class Line:
    """A dialogue with one incarnation about one device."""

    def __init__(self, core: "Core", port: Port, process: Process) -> None:
        self.core = core
        self.port = port
        self.epoch = process.epoch
        self.process = process
        self.awake = True
        self.problem = ""
        self.said = ""
        self.replayed = False
        self._again: list[InFlight] = []  # replayed requests that others wait for
        self.ending = False  # in order: the service OS is to close it
        endpoint = core_pb2.ServiceEndpoint(name="main", epoch=self.epoch, token=TOKEN)
        self.dialogue = Dialogue(port.served, endpoint, self._happened)
        self.stream = Stream(process, port.name)
        process.streams.append(self.stream)
        self.granted = Window(memoryview(b""), 0)
        if port.slots and self.epoch:
            window = GrantWindow(port.key, port.slots, STRIDE)
            theirs = mmap.mmap(window.fd, window.size)
            self.granted = Window(memoryview(theirs), STRIDE)
            self.dialogue.window = window
        core.lines.append(self)

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        return self.dialogue.phase

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.dialogue.phase is Phase.OVER

    def begin(self) -> None:
        """Have it serve."""
        self.dialogue.begin()
        self.awake = True

    def end(self) -> None:
        """Say nothing more."""
        self.ending = True
        self.dialogue.end()
        self.awake = True

    def say(self) -> str | None:
        """Say the next thing; what it was."""
        self.awake = False
        message = self.dialogue.next_message()
        if message is None:
            if self.dialogue.finished:
                self.stream.hung_up = True
            return None
        self.awake = True
        if not self.stream.broken:
            self.stream.inbox.append(message)
        if message.HasField("begin"):
            self.core.begins(self)
        if message.HasField("batch"):
            self._check_batch(message.batch)
        self.said = str(message.WhichOneof("body"))
        return self.said

    def _check_batch(self, batch: io_pb2.IoBatch) -> None:
        """Nothing new before all is done again that was in flight and does not park."""
        if batch.replay:
            find, parking = self.port.served.log.find, self.port.served.parking
            entries = [find(r.slot, r.generation) for r in batch.requests]
            self._again += [e for e in entries if e is not None and e.queue not in parking]
        else:
            self._check_replayed("something new is submitted")

    def _check_replayed(self, what: str) -> None:
        find = self.port.served.log.find
        for entry in self._again:
            check(
                find(entry.slot, entry.generation) is None,
                f"{self.port.key}: {what} while slot {entry.slot} is not done again",
            )
        self._again = []

    def hear(self) -> None:
        """Take the next message, or notice that none will come."""
        outbox = self.stream.outbox
        if not outbox:
            self.close("the stream broke")
            return
        try:
            self.dialogue.heard(outbox.popleft())
        except PeerFault as fault:
            self.close(str(fault))

    def close(self, problem: str, asked: bool = False) -> None:
        """The stream is gone; `asked` by the core itself, which then tells nobody."""
        if self.over:
            return
        self.problem = problem
        asked = asked or self.ending
        phase = self.dialogue.close()
        self.core.lines.remove(self)
        self.stream.broken = True
        self.stream.outbox.clear()
        if self.dialogue.window is not None:
            self.dialogue.window.close()
        if not asked:
            self.core.lost(self, phase)

    def _happened(self, kind: int, count: int) -> None:
        if kind == E.EVENT_DEVICE_REPLAYED:
            self._check_replayed("it is said to be replayed")
            self.replayed = True
        self.core.tell(kind, self, count)


class FailingProcess(Process):
    """The core itself as the other end of a stream, by the production's `channels.failing`."""

    def __init__(self, served: VirtioDevice) -> None:
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
        if line is line.port.standby:
            if phase is Phase.OPENED:
                self.tell(E.EVENT_STANDBY_LOST, line, 0, line.problem)
        elif phase is Phase.ATTACHED:
            self.tell(E.EVENT_DEVICE_LOST, line, 0, line.problem)

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


class Call:
    """A call that answers later; `poll` gives the answer once there is one."""

    def __init__(self, core: Core, process: Process) -> None:
        self.core = core
        self.process = process
        self.lines: list[Line] = []
        self.moved = False  # since somebody looked: it has done something, and is not done

    def problems(self) -> tuple[str, ...]:
        """What became of those that failed."""
        return tuple(f"{x.port.key}: {x.problem}" for x in self.lines if x.over)


class PrepareCall(Call):
    """PrepareService."""

    def __init__(self, core: Core, process: Process) -> None:
        super().__init__(core, process)
        for port in core.ports:
            if port.standby is not None:
                port.standby.close("another stands by", asked=True)
            port.standby = Line(core, port, process)
            self.lines.append(port.standby)

    def done(self) -> bool:
        """Whether each device is opened or has failed to."""
        return all(line.phase is not Phase.OPENING for line in self.lines)


class ConnectCall(Call):
    """ConnectService."""

    def __init__(
        self, core: Core, process: Process, one_by_one: bool, withheld: tuple[str, ...]
    ) -> None:
        super().__init__(core, process)
        check(
            process.epoch > core.served_last,
            f"epoch {process.epoch} is connected after {core.served_last}",
        )
        core.served_last = process.epoch
        for earlier in core.begun:
            check(earlier.reaped, f"{process} is connected and {earlier} is not reaped")
        self.guilty = ""
        self._one_by_one = one_by_one
        for port in core.ports:
            self._leave(port, port.key not in withheld)
        self._waiting = [self._take(port) for port in core.ports if port.key not in withheld]
        self.lines = list(self._waiting)
        self._go_on()

    def _leave(self, port: Port, wanted: bool) -> None:
        if port.active is not None and (wanted or not port.failing):
            port.active.close("another incarnation takes over", asked=True)
            port.active, port.failing = None, ""
        warm = port.standby
        if warm is not None and (warm.epoch < self.process.epoch or not wanted):
            warm.close("another incarnation takes over", asked=True)
            port.standby = None

    def _take(self, port: Port) -> Line:
        warm = port.standby
        if warm is not None and warm.epoch == self.process.epoch and not warm.over:
            port.active, port.standby = warm, None
        else:
            port.active = Line(self.core, port, self.process)
        return port.active

    def _go_on(self) -> None:
        if not self._one_by_one:
            for line in self._waiting:
                line.begin()
            self._waiting = []
        elif self._waiting:
            self._waiting[0].begin()

    def done(self) -> bool:
        """Whether each device is attached or has failed to."""
        while self._one_by_one and self._waiting:
            first = self._waiting[0]
            if first.over:
                self.guilty = first.port.key
                for line in self._waiting:
                    line.close("the incarnation was lost", asked=True)
                self._waiting = []
            elif first.replayed:
                self._waiting.pop(0)
                self._go_on()
                self.moved = True
            else:
                return False
        return all(line.over or line.phase is Phase.ATTACHED for line in self.lines)


class ReleaseCall(Call):
    """ReleaseService."""

    def __init__(self, core: Core, process: Process) -> None:
        super().__init__(core, process)
        for port in core.ports:
            line = port.active
            if line is not None and line.epoch == process.epoch and not line.over:
                self.lines.append(line)
                port.served.hold(True)
        self._ending = False

    def done(self) -> bool:
        """Whether all is answered and the incarnation has closed its drivers."""
        if not self._ending:
            if any(not line.over and line.port.served.owes() for line in self.lines):
                return False
            self._ending = self.moved = True
            for line in self.lines:
                line.end()
        return all(line.over for line in self.lines)

    def too_late(self) -> bool:
        """Give it up, if that is still possible."""
        if self._ending:
            return False
        for line in self.lines:
            line.port.served.hold(False)
        return True
