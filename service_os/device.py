"""One device on its stream: opened, standing by, begun, served, closed.

The stream's life is the device's life here, so there is one place where a driver is opened and one
where it is closed, whatever ended the stream; a stream that ends in order ends after the driver is
closed.
"""

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc

from drivers.interface import PATIENCE, DriverError, Keep, MediumError, Progress, SpecError
from drivers.raised import one_line
from drivers.registry import make
from protos.io_pb2 import Attach, Attached, CoreMessage, Opened, ServiceMessage
from service_os import evented, framed, immediate
from service_os.asynchronous import Calls
from service_os.grants import Refused, Windows
from service_os.models.attributes import Nonsense, is_patience, missing, wrong
from service_os.models.base import BadMessage, Evented, Framed, Immediate, QueueShape, Shape
from service_os.models.catalog import MODELS, unknown_model
from service_os.window import ALIGNMENT, Window

LONGEST = 4_000_000.0  # seconds of a driver's patience
GRANT_SECONDS = 5.0  # the core sends the window before Attach; it can only be late by scheduling


class Problem(Exception):
    """Why a device is not served: a gRPC status and one line."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


class Device:
    """The device that `attach` asks for; Problem if there is no such model."""

    def __init__(self, attach: Attach, windows: Windows, run_dir: Path) -> None:
        if attach.model not in MODELS:
            raise Problem(grpc.StatusCode.INVALID_ARGUMENT, unknown_model(attach.model))
        self.name = f"{attach.guest}/{attach.device}"
        self._model = MODELS[attach.model]
        self._attach = attach
        seen = attach.HasField("seen") and self._model.follows
        self._known = (_shape(attach.seen),) if seen else ()  # to a guest that has it already
        self._windows = windows
        self._run_dir = run_dir
        self._begun = self._taken_over = False
        self._calls = Calls()
        self._reporting: Any = None  # the driver, while it is used

    def serve(self, messages: Iterator[CoreMessage]) -> Generator[ServiceMessage, None, None]:
        """Answers to Attach and all that follows; Problem, BadMessage, or what a driver raises."""
        driver = self._open()
        rest: Iterator[ServiceMessage] = iter(())
        try:
            if self._known:
                self._refuse(driver)
            window = self._window()
            yield ServiceMessage(opened=Opened(patience_ms=_patience_ms(driver)))
            begin = next(messages, None)
            if begin is None:
                return  # it was never needed
            if not begin.HasField("begin"):
                raise BadMessage(f"{begin.WhichOneof('body')} before begin")
            _begin(driver)
            self._begun = True
            self._reporting = driver
            messages = self._until_end(messages)
            if self._model.immediate is not None:
                device = self._immediate(driver)
                yield _attached(device.shape, driver)
                yield from immediate.answer(messages, device, window, self._attach.epoch)
            elif self._model.framed is not None:
                card = self._framed(driver)
                yield _attached(card.shape, driver)
                name, epoch = self.name, self._attach.epoch
                moving = framed.Session(card, driver, window, name=name, epoch=epoch)
                yield from moving.answer(messages)
            else:
                held = self._evented(driver, begin.begin.state)
                yield _attached(held.shape, driver, held.state())
                session = self._session(held, driver, window)
                yield from session.answer(messages)
                rest = session.rest()
        finally:
            self._reporting = None
            self._close(driver)
        yield from rest

    def progress(self) -> Progress | None:
        """How far the driver is with what it does besides, on any thread; None for nothing."""
        report = getattr(self._reporting, "progress", None)
        progress: Progress | None = report() if report else None
        return progress

    def given_up(self) -> None:
        """The stream has ended, in whatever way: what a driver still awaits for it is in vain."""
        self._calls.cancel()

    def _session(self, model: Evented, driver: Any, window: Window) -> evented.Session:
        epoch, rank = self._attach.epoch, self._model.rank
        return evented.Session(model, driver, window, name=self.name, epoch=epoch, rank=rank)

    def _open(self) -> Any:
        attach = self._attach
        name = f"keep.{quote(attach.guest, safe='')}:{quote(attach.device, safe='')}"
        keep = Keep(self._run_dir / name)
        try:
            with _problems():
                return make(self._model.kind, attach.spec, keep, self._adapted)
        except (SystemExit, KeyboardInterrupt) as error:  # as a driver's way to refuse
            raise Problem(grpc.StatusCode.INTERNAL, broken(attach.spec, error)) from None

    def _adapted(self, driver: Any) -> Any:
        """What the drivers of a stack, and we, are given of each."""
        if problem := missing(driver, self._model.kind):
            raise DriverError(problem)
        return self._calls.adapt(driver)

    def _refuse(self, driver: Any) -> None:
        """Problem if a guest that knows the device already could not follow to this driver."""
        if self._model.immediate is not None:
            self._immediate(driver)
        else:
            assert self._model.framed is not None
            with _problems():
                self._model.framed(driver, *self._known)

    def _immediate(self, driver: Any) -> Immediate:
        assert self._model.immediate is not None
        with _problems():
            return self._model.immediate(driver, *self._known)

    def _framed(self, driver: Any) -> Framed:
        assert self._model.framed is not None
        with _problems():
            return self._model.framed(driver)

    def _evented(self, driver: Any, state: bytes) -> Evented:
        assert self._model.evented is not None
        try:
            with _problems():
                return self._model.evented(state, driver, self._attach.spec)
        except ValueError as error:
            raise Problem(grpc.StatusCode.INVALID_ARGUMENT, f"state: {error}") from None

    def _until_end(self, messages: Iterator[CoreMessage]) -> Iterator[CoreMessage]:
        for message in messages:
            if message.HasField("end"):
                self._taken_over = True
                return
            yield message

    def _close(self, driver: Any) -> None:
        try:
            if self._begun and not self._taken_over and hasattr(driver, "flush"):
                self._told(driver.flush)
        finally:
            self._told(driver.close)

    def _told(self, last: Callable[[], None]) -> None:
        """Nobody is left to be told of a failure but the operator."""
        try:
            last()
        except MediumError as error:
            text = f"service OS: {self.name}: {one_line(str(error))} when it was closed"
            print(text, file=sys.stderr, flush=True)

    def _window(self) -> Window:
        attach = self._attach
        if not attach.HasField("window"):
            return Window(memoryview(b""), 0)
        size, stride = attach.window.bytes, attach.window.stride
        if stride % ALIGNMENT or not 0 < stride <= size:
            raise BadMessage(f"a window of {size} bytes cannot have a stride of {stride}")
        try:
            wanted = attach.guest, attach.device, attach.window.number
            window = self._windows.take(*wanted, size, GRANT_SECONDS)
        except Refused as refused:
            raise Problem(grpc.StatusCode.FAILED_PRECONDITION, str(refused)) from None
        return Window(memoryview(window), stride)


def _begin(driver: Any) -> None:
    if hasattr(driver, "begin"):
        with _problems():
            driver.begin()


@contextlib.contextmanager
def _problems() -> Iterator[None]:
    """What a driver finds wrong with its options or the host, as a status."""
    try:
        yield
    except SpecError as error:
        raise Problem(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    except DriverError as error:
        raise Problem(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from None


def broken(spec: str, error: BaseException) -> str:
    """Whose driver raised what it may not, in words."""
    whose = [f"driver {spec.partition(':')[0]}", *reversed(getattr(error, "__notes__", []))]
    kind = "" if isinstance(error, Nonsense) else type(error).__name__
    return ": ".join(filter(None, [*whose, kind, str(error)]))


def _shape(seen: Attached) -> Shape:
    queues = tuple(
        QueueShape(queue.max_size, queue.header_bytes, queue.parks, queue.ordered)
        for queue in seen.queues
    )
    known = seen.features, seen.config_space, queues, seen.slots, seen.failure
    return Shape(seen.device_id, *known)


def _patience_ms(driver: Any) -> int:
    patience = getattr(driver, "patience", PATIENCE)
    must = "be a number of seconds, or None"
    if problem := wrong(driver, "patience", is_patience, must, PATIENCE):
        raise Problem(grpc.StatusCode.FAILED_PRECONDITION, problem)
    return 0 if patience is None else max(1, round(min(patience, LONGEST) * 1000))


def _attached(shape: Shape, driver: Any, state: bytes = b"") -> ServiceMessage:
    message = ServiceMessage()
    attached = message.attached
    attached.device_id = shape.device_id
    attached.features = shape.features
    attached.config_space = shape.config_space
    attached.slots = shape.slots
    attached.state = state
    attached.failure = shape.failure
    attached.patience_ms = _patience_ms(driver)
    for queue in shape.queues:
        attached.queues.add(
            max_size=queue.max_size,
            header_bytes=queue.header_bytes,
            parks=queue.parks,
            ordered=queue.ordered,
        )
    return message
