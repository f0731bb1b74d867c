"""Devices that also speak by themselves: consoles and UARTs.

Three sides want the model: the core's messages, the driver's input, and the end of the stream. All
become events in one queue, and the stream's own thread takes them out, so the model and its output
have one thread and need no lock.

When the stream ends in order, the driver is closed first, and then what it had fetched by then is
told as part of the state: of a planned end no input is lost.

Output is put out before the completions and the state that say so leave. If this process dies in
between, the next incarnation puts the same bytes out at the same position. The state leaves once
before anything is put out, so that the position where a new device begins is known as well.
"""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from time import monotonic_ns

import grpc

from drivers.interface import ConsoleDriver, MediumError
from protos.io_pb2 import CoreMessage, IoBatch, ServiceMessage
from service_os import immediate
from service_os.losses import Losses
from service_os.models.base import Done, Evented
from service_os.window import Window


class Session:
    """One attached device; `name` is `guest/device`, `rank` see ConsoleDriver."""

    def __init__(
        self,
        model: Evented,
        driver: ConsoleDriver,
        window: Window,
        *,
        name: str,
        epoch: int,
        rank: int,
    ) -> None:
        self._model = model
        self._driver = driver
        self._window = window
        self._epoch = epoch
        self._state = model.state()  # as told when attaching
        self._rank = rank
        self._losses = Losses(name)
        self._events: SimpleQueue[CoreMessage | bytes | None] = SimpleQueue()
        self._room = threading.Semaphore(0)  # given when the last chunk of input is taken
        self._room_due = False
        self._started = False
        self._over = False
        self._inlined: dict[int, memoryview] = {}  # writable areas of held requests, by slot

    def answer(self, messages: Iterator[CoreMessage]) -> Iterator[ServiceMessage]:
        """Answers to all messages and all input."""
        threading.Thread(target=self._read, args=(messages,), daemon=True).start()
        try:
            if reply := self._reply([]):
                yield reply
            while True:
                self._fetch()
                event = self._events.get()
                if event is None:
                    return
                for done in self._handle(event):
                    self._put_out()
                    if reply := self._reply(done):
                        yield reply
        finally:
            self._over = True
            self._room.release()

    def rest(self) -> Iterator[ServiceMessage]:
        """What there is to say when the driver is closed: input that it had fetched by then."""
        done: list[Done] = []
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, bytes):
                done += self._model.receive(event)
        if reply := self._reply(done):
            yield reply

    def _read(self, messages: Iterator[CoreMessage]) -> None:
        try:
            for message in messages:
                self._events.put(message)
        except grpc.RpcError:
            pass  # the stream broke, which is one way to end
        finally:
            self._events.put(None)

    def _handle(self, event: CoreMessage | bytes) -> Iterator[list[Done]]:
        if isinstance(event, bytes):
            self._room_due = True
            yield self._model.receive(event)
        elif event.HasField("batch"):
            yield from self._submit(event.batch)
        else:
            yield self._model.reset() if event.HasField("reset") else []

    def _submit(self, batch: IoBatch) -> Iterator[list[Done]]:
        """What is done of it, at once or, where that takes long, in pieces."""
        done: list[Done] = []
        late = monotonic_ns() + immediate.REPLY_NS
        for request in batch.requests:
            if monotonic_ns() > late:
                yield done
                done, late = [], monotonic_ns() + immediate.REPLY_NS
            readable, writable = self._window.areas(request)
            if request.inlined:
                self._inlined[request.slot] = writable
            done += self._model.submit(request, readable, writable)
        yield done

    def _put_out(self) -> None:
        data, position = self._model.take_output()
        if data:
            try:
                self._driver.write(data, position)
            except MediumError as error:
                self._losses.failed(error)
            else:
                self._losses.worked()

    def _reply(self, done: list[Done]) -> ServiceMessage | None:
        reply = ServiceMessage()
        completions = reply.completions
        completions.epoch = self._epoch
        for request, written, value in done:
            completion = completions.completions.add(
                slot=request.slot, generation=request.generation, written=written, value=value
            )
            if request.inlined:
                completion.payload = bytes(self._inlined.pop(request.slot)[:written])
        state = self._model.state()
        if state != self._state:
            completions.state = self._state = state
        interrupt = completions.interrupt = self._model.interrupt
        self._model.interrupt = False
        return reply if done or interrupt or completions.HasField("state") else None

    def _fetch(self) -> None:
        """Let input come when the guest waits for it, and more when it has taken enough."""
        if self._model.listening and not self._started:
            self._started = True
            self._driver.start(self._deliver, self._rank)
        if self._room_due and self._model.hungry:
            self._room_due = False
            self._room.release()

    def _deliver(self, data: bytes) -> None:
        """Called on a thread of the driver; blocks until the guest takes more.

        It blocks after handing over, so no input waits here where the state does not cover it.
        """
        self._events.put(data)
        if not self._over:
            self._room.acquire()
