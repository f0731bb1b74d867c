"""Fails a device's requests while no service OS serves it: a Channel whose other end is the core.

It says of itself what the last incarnation said, so a guest sees an I/O error where it would have
seen a pause, and nothing else. What a failure looks like is the device model's to say
(Attached.failure). Requests that park are left waiting, as they would be at a device where nothing
happens: a failed receive buffer would be offered again at once, for ever.
"""

from collections.abc import Iterator

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault, Refusal
from microhypervisor.events import EventLog
from protos import core_pb2, io_pb2
from sessions.channel import ChannelClosed

ALL_ONES = 0xFFFFFFFF  # what a port gives where nobody answers


class Failing:
    """Of one device that was attached before. Payload must be inline."""

    def __init__(
        self, device: ServedDevice, endpoint: core_pb2.ServiceEndpoint, events: EventLog
    ) -> None:
        del endpoint, events
        description = device.description()
        if description is None:
            text = f"device {device.config.name} has never been served: nobody knows how it fails"
            raise PeerFault(text, Refusal.WRONG_STATE)
        self._device = device
        self._description = description
        self._parked: dict[int, int] = {}  # slot to generation

    def exchange(self, outgoing: Iterator[io_pb2.CoreMessage]) -> Iterator[io_pb2.ServiceMessage]:
        """See Channel."""
        for message in outgoing:
            requests = message.begin.replay.requests or message.batch.requests
            answer = io_pb2.ServiceMessage()
            if message.HasField("attach"):
                answer.opened.SetInParent()
            elif message.HasField("reset"):
                self._reset(answer.completions)
            elif message.HasField("begin"):
                self._description = self._device.description() or self._description
                answer.attached.CopyFrom(self._description)  # as of now: nobody else serves it
                if requests:
                    yield answer
                    answer = io_pb2.ServiceMessage()
            for request in requests:
                self._fail(request, answer.completions)
            yield answer
        raise ChannelClosed("closed")

    def grant(self, grant: io_pb2.Grant, fd: int) -> None:
        """See Channel; requests are taken inline."""

    def close(self) -> None:
        """See Channel; the exchange ends with what it pulls from."""

    def _fail(self, request: io_pb2.Request, answer: io_pb2.Completions) -> None:
        slot, generation = request.slot, request.generation
        if request.HasField("access"):
            answer.completions.add(slot=slot, generation=generation, value=ALL_ONES)
        elif request.queue in self._device.parking:
            self._parked[slot] = generation
        else:
            failure = self._description.failure[-request.writable :] if request.writable else b""
            payload = failure.rjust(request.writable, b"\0") if failure else b""
            done = answer.completions.add(slot=slot, generation=generation, payload=payload)
            done.written = len(payload)

    def _reset(self, answer: io_pb2.Completions) -> None:
        for slot, generation in self._parked.items():
            answer.completions.add(slot=slot, generation=generation)
        self._parked.clear()
