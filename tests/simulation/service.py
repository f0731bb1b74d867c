"""A service OS as a process: incarnations that are started, stand by, serve, hang and are killed.

Each device runs the production's `service_os.device.Device` on a driver of the simulation, a step
at a time: one request (or, in coarse processes, one batch) is executed, and its answer put on its
way, before anything else may happen. A killed process is not gone: until it is reaped, one write
of each of its devices may still land, whole or torn. That is what the fence is there for.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from protos.io_pb2 import Attach, ServiceMessage
from service_os import evented, immediate
from service_os.device import Device
from service_os.window import Window
from tests.simulation.disk import Poisoned, Torn

COARSE = 1 << 20  # a reply for a whole batch
FINE = 0  # a reply for each request


class SteppedSession(evented.Session):
    """A console's loop without its thread: it stops after each thing that it does."""

    def answer(self, messages: Iterator[Any]) -> Iterator[Any]:
        """As the production's, with None where the process may die in between."""
        yield self._reply([])
        self._fetch()
        yield None
        for event in messages:
            for done in self._handle(event):
                yield None
                self._put_out()
                yield None
                yield self._reply(done)
            self._fetch()
            yield None


class SteppedDevice(Device):
    """A device whose driver and window are at hand."""

    def __init__(self, attach: Attach, driver: Any, window: Window) -> None:
        super().__init__(attach, None, None)  # type: ignore[arg-type]
        self.session: SteppedSession | None = None
        self._at_hand = driver
        self._dead = True
        self._granted = window

    def _open(self) -> Any:
        return self._at_hand

    def taken_over(self, by_another: bool) -> None:
        """The stream ends, as for another one or not; without it the process has died."""
        self._taken_over = by_another
        self._dead = False

    def _close(self, driver: Any) -> None:
        if not self._dead:
            super()._close(driver)

    def _window(self) -> Window:
        return self._granted

    def _session(self, model: Any, driver: Any, window: Window) -> SteppedSession:
        epoch = self._attach.epoch
        self.session = SteppedSession(model, driver, window, name=self.name, epoch=epoch, rank=0)
        return self.session


class Typed(bytes):
    """Input of the driver, among the messages from the core: none of them."""

    def HasField(self, name: str) -> bool:
        return False


class Stream:
    """The service OS's end of one device's stream, and what is on its way in both directions."""

    def __init__(self, process: "Process", name: str) -> None:
        self.process = process
        self.name = name
        self.inbox: deque[Any] = deque()  # from the core, and input of the driver
        self.outbox: deque[ServiceMessage] = deque()  # to the core
        self.broken = False  # nothing arrives any more, in either direction
        self.hung_up = False  # the core ends it in order: the end follows the last message
        self.over = False  # the service OS's side has ended, its driver is closed
        self.driver: Any = None
        self.device: SteppedDevice | None = None
        self._running: Iterator[ServiceMessage | None] | None = None
        self._steps = 0  # owed by what was taken out of the inbox
        self._typed = False  # input was delivered and its room not given back
        self._ending = False
        self._stage = 0  # of the handshake: opened, attached

    def start(self, driver: Any, window: Window) -> None:
        """Attach has arrived."""
        attach = self.inbox.popleft().attach
        self.driver = driver
        self.device = SteppedDevice(attach, driver, window)
        self._running = self.device.serve(self._feed())
        self._steps = 1

    @property
    def opening(self) -> bool:
        """Whether Attach is there and nobody has looked at it."""
        return self.device is None and bool(self.inbox)

    @property
    def ready(self) -> bool:
        """Whether there is something to do."""
        if self.over or self.device is None:
            return False
        if self._steps:
            return True
        if self._stage >= 2 and not self._evented:
            inbox = self.inbox
            while inbox and not inbox[0].batch.requests:
                inbox.popleft()  # what a model that answers at once has no use for
        return bool(self.inbox) or self.hung_up or self.broken

    @property
    def _evented(self) -> bool:
        return self.device is not None and self.device.session is not None

    def step(self) -> str | None:
        """Do the next thing; what it was."""
        assert self._running is not None
        if not self._steps:
            if not self.inbox:
                self._end()
                return "ends"
            self._steps = self._cost(self.inbox[0])
        self._steps -= 1
        immediate.REPLY_BYTES = self.process.reply_bytes
        message = next(self._running, None)
        if message is not None:
            if message.HasField("opened") or message.HasField("attached"):
                self._stage += 1
                if message.HasField("attached") and self.driver_is_evented:
                    self._steps += 2  # the state, before anything is put out
            if not self.broken:
                self.outbox.append(message)
        return "executes"

    @property
    def driver_is_evented(self) -> bool:
        """Whether the device may speak by itself."""
        return hasattr(self.driver, "positional")

    def _cost(self, message: Any) -> int:
        if self._stage < 2:
            return 1
        if self._evented:
            return 4
        return len(message.batch.requests) if self.process.reply_bytes == FINE else 1

    def _feed(self) -> Iterator[Any]:
        while not self._ending:
            yield self.inbox.popleft()

    def type(self, data: bytes) -> bool:
        """Input arrives at the driver; whether anybody wants it."""
        session = self.device.session if self.device else None
        if session is None or not session._started or self.over:
            return False
        if self._typed and not session._room.acquire(blocking=False):
            return False
        self._typed = True
        if self.hung_up:
            session._events.put(data)  # for whoever looks when the driver is closed
        else:
            self.inbox.append(Typed(data))
        return True

    def land(self, torn: bool) -> bool:
        """The process is being killed: what its thread was doing still happens, unanswered."""
        busy = self._steps or (self.ready and not self._evented)
        if self.over or self._stage < 2 or not busy:
            return False
        if hasattr(self.driver, "torn"):
            self.driver.torn = torn
        said = len(self.outbox)
        with suppress(Torn, Poisoned):
            if self._steps or self.inbox:
                self.step()
        while len(self.outbox) > said:
            self.outbox.pop()
        self.over = True  # and nothing after it
        return True

    def _end(self) -> None:
        """The core says nothing more: the driver is closed, and what is left to say is said."""
        assert self._running is not None
        assert self.device is not None
        self._ending = self.over = True
        self.device.taken_over(self.hung_up)
        for message in self._running:
            if message is not None and not self.broken:
                self.outbox.append(message)


class Process:
    """One incarnation of a service OS."""

    def __init__(self, epoch: int, reply_bytes: int) -> None:
        self.epoch = epoch
        self.reply_bytes = reply_bytes
        self.streams: list[Stream] = []
        self.launched = False  # it serves on its sockets
        self.killed = False  # SIGKILL was sent
        self.stopped = False  # SIGSTOP was
        self.reaped = False
        self.begun = False  # the core has told one of its devices to begin

    @property
    def running(self) -> bool:
        """Whether its code runs."""
        return not (self.killed or self.stopped or self.reaped)

    def reap(self) -> None:
        """Nothing of it is left; what it has said may still arrive."""
        self.reaped = self.killed = True
        for stream in self.streams:
            stream.over = True
            stream.inbox.clear()

    def __str__(self) -> str:
        state = "reaped" if self.reaped else "killed" if self.killed else ""
        return f"epoch {self.epoch}" + (f" ({state})" if state else "")
