"""The streams of one incarnation: who may open one, for which device, and how each ends."""

import hmac
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc

from drivers.raised import harmless, one_line
from protos.io_pb2 import Attach, CoreMessage, ServiceMessage
from protos.io_pb2_grpc import DeviceIoServicer
from service_os.device import Device, Problem, broken
from service_os.grants import Windows
from service_os.models.attributes import Nonsense
from service_os.models.base import BadMessage

MakeDevice = Callable[[Attach, Windows, Path], Device]

LEAVE_SECONDS = 5.0  # how long a stream that is to begin waits for another of its device to end


class Sessions(DeviceIoServicer):
    """All streams of one incarnation. Calls come on the gRPC server's threads, one a stream."""

    def __init__(
        self,
        windows: Windows,
        epoch: int,
        token: str,
        run_dir: Path,
        device: MakeDevice = Device,
    ) -> None:
        self._device = device
        self._windows = windows
        self._epoch = epoch
        self._token = token.encode()
        self._run_dir = run_dir
        self._changed = threading.Condition()
        self._served: dict[tuple[str, str], Device] = {}

    def Serve(
        self, request_iterator: Any, context: grpc.ServicerContext
    ) -> Iterator[ServiceMessage]:
        """See protos/io.proto."""
        attach = Attach()
        try:
            attach = next(request_iterator, CoreMessage()).attach
            yield from self._serve(attach, request_iterator, context)
        except GeneratorExit:  # whoever iterates closes the stream: nobody listens any more
            raise
        except Problem as problem:
            context.abort(problem.status, one_line(str(problem)))
        except grpc.RpcError:
            return  # the core has gone, or dropped the device
        except BadMessage as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, one_line(str(error)))
        except Nonsense as error:
            context.abort(grpc.StatusCode.INTERNAL, one_line(broken(attach.spec, error)))
        except BaseException as error:  # gRPC answers nothing where a driver calls sys.exit()
            print(harmless(traceback.format_exc()), end="", file=sys.stderr, flush=True)
            context.abort(grpc.StatusCode.INTERNAL, one_line(broken(attach.spec, error)))

    def _serve(
        self, attach: Attach, messages: Iterator[CoreMessage], context: grpc.ServicerContext
    ) -> Iterator[ServiceMessage]:
        self._authenticate(attach)
        key = attach.guest, attach.device
        device = self._device(attach, self._windows, self._run_dir)
        context.add_callback(device.given_up)
        try:
            yield from device.serve(self._entering(key, device, unfolded(messages)))
        finally:
            with self._changed:
                if self._served.get(key) is device:
                    del self._served[key]
                    self._changed.notify_all()

    def serving(self, guest: str, device: str) -> Device | None:
        """The device that is being served, if it is."""
        return self._served.get((guest, device))

    def check_token(self, token: str) -> None:
        """Problem if it is not that of this incarnation."""
        if not hmac.compare_digest(token.encode(), self._token):
            raise Problem(
                grpc.StatusCode.UNAUTHENTICATED, "the token is not that of this incarnation"
            )

    def _authenticate(self, attach: Attach) -> None:
        self.check_token(attach.token)
        if attach.epoch != self._epoch:
            raise Problem(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"this incarnation has epoch {self._epoch}, not {attach.epoch}",
            )

    def _entering(
        self, key: tuple[str, str], device: Device, messages: Iterable[CoreMessage]
    ) -> Iterator[CoreMessage]:
        """Two streams never work on one device: it begins on one when the other has closed it."""
        for message in messages:
            if message.HasField("begin"):
                self._enter(key, device)
            yield message

    def _enter(self, key: tuple[str, str], device: Device) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._served, LEAVE_SECONDS):
                raise Problem(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{key[0]}/{key[1]} is still being served on another stream",
                )
            self._served[key] = device


def unfolded(messages: Iterable[CoreMessage]) -> Iterator[CoreMessage]:
    """What came with Begin as if it had come by itself."""
    for message in messages:
        yield message
        begin = message.begin
        if begin.HasField("activate"):
            yield CoreMessage(activate=begin.activate)
        if begin.replay.requests:
            yield CoreMessage(batch=begin.replay)
