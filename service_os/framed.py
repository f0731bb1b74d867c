"""Devices that move frames: network cards.

As with consoles, the core's messages and what arrives from outside become events of one queue, and
the stream's own thread alone works with the model. But frames come in their tens of thousands, so
they do not stand in that queue: they lie in an inbox, whoever brings them rings at most once until
it is looked into, and a turn takes all that there is. What a turn completes leaves in one message.

The inbox is bounded, and nobody waits for a guest: frames beyond it are lost, the newest first.
Frames go out before their completions leave.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

import grpc

from drivers.interface import MediumError, NetDriver
from protos.io_pb2 import CoreMessage, IoBatch, ServiceMessage
from service_os.losses import Losses
from service_os.models.base import Framed
from service_os.window import Window

BACKLOG = 1024  # frames that wait until the guest has buffers for them

_RING = CoreMessage()  # there are frames, or the link has changed


class Session:
    """One attached device; `name` is `guest/device`."""

    def __init__(
        self, model: Framed, driver: NetDriver, window: Window, *, name: str, epoch: int
    ) -> None:
        self._model = model
        self._driver = driver
        self._window = window
        self._name = name
        self._epoch = epoch
        self._losses = Losses(name, "network output")
        self._config = model.shape.config_space  # as told when attaching
        self._events: SimpleQueue[CoreMessage | None] = SimpleQueue()
        self._lock = threading.Lock()  # of the three below
        self._inbox: deque[bytes] = deque()
        self._rung = False
        self._open = False  # the guest takes frames
        self._lost = 0
        self._started = False
        self._inlined: dict[int, memoryview] = {}  # writable areas of held requests, by slot

    def answer(self, messages: Iterator[CoreMessage]) -> Iterator[ServiceMessage]:
        """Answers to all messages, and all frames that arrive."""
        threading.Thread(target=self._read, args=(messages,), daemon=True).start()
        try:
            going = True
            while going:
                going = self._turn()
                if reply := self._reply():
                    yield reply
                if news := self._news():
                    yield news
        finally:
            self._listen(False)
            self._tell()

    def _read(self, messages: Iterator[CoreMessage]) -> None:
        try:
            for message in messages:
                self._events.put(message)
        except grpc.RpcError:
            pass  # the stream broke, which is one way to end
        finally:
            self._events.put(None)

    def _turn(self) -> bool:
        """Wait for something and do all that is to be done; False at the end of the stream."""
        event = self._events.get()
        while event is not None:
            if event is not _RING:
                self._handle(event)
            try:
                event = self._events.get_nowait()
            except Empty:
                break
        if frames := self._model.take_frames():
            self._send(frames)
        if self._open:
            with self._lock:
                self._rung = False
            self._model.receive(self._inbox)
        return event is not None

    def _handle(self, event: CoreMessage) -> None:
        kind = event.WhichOneof("body")
        if kind == "batch":
            self._submit(event.batch)
        elif kind == "activate":
            self._model.activate(event.activate.features)
        elif kind == "reset":
            self._listen(False)
            self._model.reset()

    def _submit(self, batch: IoBatch) -> None:
        submit, areas = self._model.submit, self._window.areas
        for request in batch.requests:
            readable, writable = areas(request)
            if request.inlined:
                self._inlined[request.slot] = writable
            submit(request, readable, writable)
        if self._model.listening and not self._open:
            self._listen(True)

    def _listen(self, on: bool) -> None:
        with self._lock:
            self._open = on
            self._rung = False
            self._inbox.clear()
        if on and not self._started:
            self._started = True
            self._driver.start(self._deliver, self._changed)

    def _send(self, frames: Sequence[memoryview]) -> None:
        try:
            self._driver.send(frames)
        except MediumError as error:
            self._losses.failed(error)
        else:
            self._losses.worked()

    def _deliver(self, frames: Sequence[bytes]) -> None:
        """Called on threads of the driver."""
        with self._lock:
            room = BACKLOG - len(self._inbox) if self._open else 0
            taken = frames[:room] if room < len(frames) else frames
            self._lost += len(frames) - len(taken)
            self._inbox.extend(taken)
            ring = not self._rung and bool(taken)
            self._rung = self._rung or ring
        if ring:
            self._events.put(_RING)

    def _changed(self) -> None:
        """Called on threads of the driver."""
        self._events.put(_RING)

    def _reply(self) -> ServiceMessage | None:
        done = self._model.take_done()
        if not done:
            return None
        reply = ServiceMessage()
        reply.completions.epoch = self._epoch
        add = reply.completions.completions.add
        for request, written, _ in done:
            completion = add(slot=request.slot, generation=request.generation, written=written)
            if request.inlined:
                completion.payload = bytes(self._inlined.pop(request.slot)[:written])
        return reply

    def _news(self) -> ServiceMessage | None:
        """The configuration space, if it has changed."""
        config = self._model.config_space()
        if config == self._config:
            return None
        self._config = config
        message = ServiceMessage()
        message.config_change.config_space = config
        return message

    def _tell(self) -> None:
        """What was lost, for the operator."""
        dropped = dict(self._model.dropped)
        if self._lost:
            dropped["more than the guest took"] = self._lost
        if dropped:
            what = ", ".join(f"{count} {why}" for why, count in sorted(dropped.items()))
            print(f"frames of {self._name} that were dropped: {what}", file=sys.stderr, flush=True)
