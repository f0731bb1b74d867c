"""A device and the lines to those who serve it, or stand by to.

The device, its log and the dialogues are the production's. What stands in for `Session`, which is
threads and descriptors, is here: a line is a dialogue and a stream that the world delivers, woken
by the doorbell.
"""

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault
from microhypervisor.inflight import InFlight
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2
from service_os.session import unfolded
from service_os.window import Window
from sessions.dialogue import Dialogue, Phase
from tests.simulation.service import Process, Stream
from tests.simulation.violation import check

if TYPE_CHECKING:
    from tests.simulation.core import Core

STRIDE = 2048  # of a slot; what is larger travels inline
TOKEN = "token"


class Port:
    """A device and the two lines it may have; `work` is the guest's side."""

    def __init__(self, served: ServedDevice, work: Any, slots: int, make: Callable[[], Any]):
        self.served = served
        self.name = served.config.name
        self.key = f"{served.guest}/{self.name}"
        self.work = work
        self.slots = slots  # of its window; 0: payload travels inline
        self.make_driver = make
        self.active: Line | None = None
        self.standby: Line | None = None
        self.tried: Line | None = None  # with who serves, to be active once it is open
        self.away = False  # nobody can open it now
        self.failing = ""  # why its requests fail
        served.ring = self._ring  # type: ignore[method-assign]

    def _ring(self) -> None:
        if self.active is not None:
            self.active.awake = True


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
        self.refused = False  # it is not broken: the service OS cannot open the device
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
        if not self.stream.broken and not message.HasField("end"):  # `hung_up` stands for that
            self.stream.inbox.extend(unfolded([message]))
        if message.HasField("begin"):
            self.core.begins(self)
            self._check_batch(message.begin.replay)
        elif message.HasField("batch"):
            self._check_batch(message.batch)
        self.said = str(message.WhichOneof("body"))
        return self.said

    def _check_batch(self, batch: io_pb2.IoBatch) -> None:
        """Nothing new before all is done again that was in flight and does not park."""
        if batch.replay or not batch.requests:
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
        if kind == core_pb2.EVENT_DEVICE_REPLAYED:
            self._check_replayed("it is said to be replayed")
            self.replayed = True
        self.core.tell(kind, self, count)
