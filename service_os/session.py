"""One Serve stream: a device is attached, served, and closed when the stream ends.

The stream's life is the device's life here, so there is one place where a driver is opened and one
where it is closed, whatever ended the stream.
"""

import hmac
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc

from drivers.interface import DriverError, Keep, MediumError, SpecError
from drivers.registry import make
from protos.io_pb2 import Attach, CoreMessage, Opened, ServiceMessage
from protos.io_pb2_grpc import DeviceIoServicer
from service_os import evented, immediate
from service_os.grants import Refused, Windows
from service_os.models.base import BadMessage, Shape
from service_os.models.catalog import MODELS, Model, unknown_model
from service_os.window import ALIGNMENT, Window

GRANT_SECONDS = 5.0  # the core sends the window before Attach; it can only be late by scheduling
LEAVE_SECONDS = 5.0  # how long a new stream waits for the old one of its device to let go


class Problem(Exception):
    """Why an attach fails: a gRPC status and one line."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


class Sessions(DeviceIoServicer):
    """All streams of one incarnation. Calls come on the gRPC server's threads, one a stream."""

    def __init__(self, windows: Windows, epoch: int, token: str, run_dir: Path) -> None:
        self._windows = windows
        self._epoch = epoch
        self._token = token.encode()
        self._run_dir = run_dir
        self._changed = threading.Condition()
        self._served: set[tuple[str, str]] = set()

    def Serve(
        self, request_iterator: Any, context: grpc.ServicerContext
    ) -> Iterator[ServiceMessage]:
        """See protos/io.proto."""
        try:
            yield from self._serve(request_iterator)
        except Problem as problem:
            context.abort(problem.status, " ".join(str(problem).split()))
        except grpc.RpcError:
            return  # the core has gone, or dropped the device
        except BadMessage as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")

    def _serve(self, messages: Iterator[CoreMessage]) -> Iterator[ServiceMessage]:
        attach = next(messages, CoreMessage()).attach
        self._authenticate(attach)
        key = attach.guest, attach.device
        self._enter(key)
        try:
            if attach.model not in MODELS:
                raise Problem(grpc.StatusCode.INVALID_ARGUMENT, unknown_model(attach.model))
            model = MODELS[attach.model]
            driver = self._open(attach, model.kind)
            try:
                yield from self._run(messages, attach, model, driver)
            finally:
                _close(driver, f"{attach.guest}/{attach.device}")
        finally:
            with self._changed:
                self._served.discard(key)
                self._changed.notify_all()

    def _run(
        self, messages: Iterator[CoreMessage], attach: Attach, model: Model, driver: Any
    ) -> Iterator[ServiceMessage]:
        window = self._window(attach)
        yield ServiceMessage(opened=Opened())
        begin = next(messages, None)
        if begin is None:
            return  # it was never needed
        if not begin.HasField("begin"):
            raise BadMessage(f"{begin.WhichOneof('body')} before begin")
        if model.immediate is not None:
            device = model.immediate(driver)
            yield _attached(device.shape)
            yield from immediate.answer(messages, device, window, self._epoch)
        elif model.evented is not None:
            try:
                held = model.evented(begin.begin.state, driver.origin)
            except ValueError as error:
                raise Problem(grpc.StatusCode.INVALID_ARGUMENT, f"state: {error}") from None
            yield _attached(held.shape, held.state())
            yield from evented.Session(
                held,
                driver,
                window,
                name=f"{attach.guest}/{attach.device}",
                epoch=self._epoch,
                rank=model.rank,
            ).answer(messages)

    def _authenticate(self, attach: Attach) -> None:
        if not hmac.compare_digest(attach.token.encode(), self._token):
            raise Problem(
                grpc.StatusCode.UNAUTHENTICATED, "the token is not that of this incarnation"
            )
        if attach.epoch != self._epoch:
            raise Problem(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"this incarnation has epoch {self._epoch}, not {attach.epoch}",
            )

    def _enter(self, key: tuple[str, str]) -> None:
        """Two streams never work on one device: its driver would be open twice."""
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._served, LEAVE_SECONDS):
                raise Problem(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{key[0]}/{key[1]} is still being served on another stream",
                )
            self._served.add(key)

    def _open(self, attach: Attach, kind: str) -> Any:
        name = f"{quote(attach.guest, safe='')}.{quote(attach.device, safe='')}"
        try:
            return make(kind, attach.spec, Keep(self._run_dir / f"keep.{name}"))
        except SpecError as error:
            raise Problem(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        except DriverError as error:
            raise Problem(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from None

    def _window(self, attach: Attach) -> Window:
        if not attach.HasField("window"):
            return Window(memoryview(b""), 0)
        size, stride = attach.window.bytes, attach.window.stride
        if stride % ALIGNMENT or not 0 < stride <= size:
            raise BadMessage(f"a window of {size} bytes cannot have a stride of {stride}")
        try:
            window = self._windows.take(attach.guest, attach.device, size, GRANT_SECONDS)
        except Refused as refused:
            raise Problem(grpc.StatusCode.FAILED_PRECONDITION, str(refused)) from None
        return Window(memoryview(window), stride)


def _close(driver: Any, name: str) -> None:
    try:
        driver.close()
    except MediumError as error:  # nobody is left to be told but the operator
        print(f"service OS: {name}: {error} when it was closed", file=sys.stderr, flush=True)


def _attached(shape: Shape, state: bytes = b"") -> ServiceMessage:
    message = ServiceMessage()
    attached = message.attached
    attached.device_id = shape.device_id
    attached.features = shape.features
    attached.config_space = shape.config_space
    attached.slots = shape.slots
    attached.state = state
    for queue in shape.queues:
        attached.queues.add(
            max_size=queue.max_size, header_bytes=queue.header_bytes, parks=queue.parks
        )
    return message
