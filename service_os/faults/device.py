"""A device that faults lie in wait for: the ordinary one, with somebody looking on at each step.

Where a request stands is seen from outside: batches are noted as they come in, and counted as the
model is asked for one request after the other.

A console's answer says how far the console has come, so after one that was dropped or made wrong
nothing more is sent: a later one would claim that the guest has heard what it has not.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from protos import faults_pb2 as faults
from protos.io_pb2 import Attach, CoreMessage, IoBatch, Request, ServiceMessage
from service_os.device import Device
from service_os.faults.act import act
from service_os.faults.garble import Key, chosen, garbled
from service_os.faults.plan import Due, Plan
from service_os.faults.sense import OF_ANSWERS
from service_os.grants import Windows
from service_os.models.base import Evented, Framed, Immediate
from service_os.models.block import sectors
from service_os.window import Window


class FaultyDevice(Device):
    """As Device."""

    def __init__(self, plan: Plan, attach: Attach, windows: Windows, run_dir: Path) -> None:
        super().__init__(attach, windows, run_dir)
        self._plan = plan
        self._batches: deque[IoBatch] = deque()
        self._batch = IoBatch()
        self._index = 0
        self._out: dict[Key, Request] = {}  # requests that are not answered yet
        self._touched: dict[Key, list[range]] = {}  # the sectors that each is about
        self._marked: dict[Key, Due] = {}  # whose answers are to be wrong
        self._attached = ServiceMessage()
        self._mute = False

    def serve(self, messages: Iterator[CoreMessage]) -> Generator[ServiceMessage, None, None]:
        """See Device."""
        with closing(super().serve(self._noted(messages))) as replies:
            for reply in replies:
                if reply.HasField("completions"):
                    yield from self._answer(reply)
                else:
                    yield from self._answer_attaching(reply)

    def _noted(self, messages: Iterator[CoreMessage]) -> Iterator[CoreMessage]:
        for message in messages:
            if message.HasField("begin"):
                self._pass(faults.PROMOTION)
            elif message.batch.requests:
                self._batches.append(message.batch)
            yield message

    def _open(self) -> Any:
        self._pass(faults.OPENING)
        return super()._open()

    def _close(self, driver: Any) -> None:
        self._pass(faults.CLOSING)
        super()._close(driver)

    def _immediate(self, driver: Any) -> Immediate:
        model = super()._immediate(driver)
        setattr(model, "execute", self._stepped(model.execute))  # noqa: B010  # for mypy
        return model

    def _evented(self, driver: Any, state: bytes) -> Evented:
        model = super()._evented(driver, state)
        setattr(model, "submit", self._stepped(model.submit))  # noqa: B010  # for mypy
        return model

    def _window(self) -> Window:
        window = super()._window()
        self._areas = window.areas
        return window

    def _about(self, request: Request) -> tuple[Key, list[range]]:
        """Looked up when it comes: once it is answered, its slot may hold another one's payload."""
        readable, _ = self._areas(request)
        key = request.slot, request.generation
        return key, sectors(request.header, readable, request.writable)

    def _framed(self, driver: Any) -> Framed:
        model = super()._framed(driver)
        setattr(model, "submit", self._stepped(model.submit))  # noqa: B010  # for mypy
        return model

    def _stepped(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            request = self._before()
            result = work(*arguments)
            self._pass(faults.AFTER_EXECUTE, (request,))
            if self._batch.replay:
                self._pass(faults.REPLAY_EXECUTED, (request,))
            return result

        return step

    def _before(self) -> Request:
        if self._index == len(self._batch.requests):
            self._batch, self._index = self._batches.popleft(), 0
            self._out.update(((r.slot, r.generation), r) for r in self._batch.requests)
            if self._attach.model == "block":
                self._touched.update(map(self._about, self._batch.requests))
            self._pass(faults.AFTER_RECEIVE, self._batch.requests)
            if self._batch.replay:
                self._pass(faults.REPLAY_RECEIVED, self._batch.requests)
        request = self._batch.requests[self._index]
        if self._index and self._index == len(self._batch.requests) // 2:
            self._pass(faults.MID_BATCH, (request,))
        self._index += 1
        self._pass(faults.BEFORE_EXECUTE, (request,))
        return request

    def _pass(self, point: int, requests: Sequence[Request] = ()) -> list[Due]:
        """Something comes by; answers that are to be wrong are marked, and given back."""
        wrong = []
        attach = self._attach
        touched = [s for r in requests for s in self._touched.get((r.slot, r.generation), ())]
        for due in self._plan.due(point, attach.guest, attach.device, touched):
            if due.fault.action in OF_ANSWERS:
                wrong.append(due)
                self._marked.update(((r.slot, r.generation), due) for r in requests)
            else:
                act(due.fault)
        return wrong

    def _answer_attaching(self, reply: ServiceMessage) -> Iterator[ServiceMessage]:
        point = faults.OPENED if reply.HasField("opened") else faults.ATTACHED
        self._attached = reply
        wrong = self._pass(point)
        if any(due.fault.action == faults.DROP for due in wrong):
            return
        yield reply
        if wrong:
            yield reply

    def _answer(self, reply: ServiceMessage) -> Iterator[ServiceMessage]:
        keys = [(c.slot, c.generation) for c in reply.completions.completions]
        requests = [self._out[key] for key in keys]
        if keys:
            self._pass(faults.BEFORE_REPLY, requests)
        if not self._mute:
            yield from self._as_marked(reply, keys)
        for key in keys:
            del self._out[key]
        if keys:
            self._pass(faults.AFTER_REPLY, requests)
        for key in keys:
            self._touched.pop(key, None)

    def _as_marked(self, reply: ServiceMessage, keys: Sequence[Key]) -> Iterator[ServiceMessage]:
        marked = {key: self._marked.pop(key) for key in keys if key in self._marked}
        dropped = {key for key, due in marked.items() if due.fault.action == faults.DROP}
        wrong = next((due for key, due in marked.items() if key not in dropped), None)
        self._mute = bool(marked) and self._model.evented is not None
        if dropped and (self._mute or len(dropped) == len(keys)):
            return
        for key in dropped:
            left = [c for c in reply.completions.completions if (c.slot, c.generation) != key]
            del reply.completions.completions[:]
            reply.completions.completions.extend(left)
        if wrong is None:
            yield reply
            return
        fault = wrong.fault
        kind = chosen(fault.garble, fault.seed, wrong.turn)
        keys = [key for key in marked if key not in dropped]
        self._mute = self._mute and kind not in (faults.TWICE, faults.NONSENSE)
        yield from garbled(reply, kind, keys, self._out, self._attached)
