"""The balloon (virtio 1.2, 5.5): memory taken from a running guest that cooperates, and given back.

It is memory management, so its queues end in the core: a Channel that serves its device on the
session's own thread, behind the same transport, rings and log as any other. A request names pages
by little-endian numbers; those that are not RAM of this guest, and bytes that make no whole
number, count for nothing.

Which pages are in it is recorded here, so a page given twice counts once, and `actual` in the
configuration space is what the core counted, whatever the driver writes there. A reset empties
the balloon: the next driver knows nothing of it, and a page that it touches comes back as zeros.

A request may be long, and all guests share the core's interpreter: it is taken in pieces, and
between two of them whoever waits has its turn.
"""

import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby

from microhypervisor.devices.served import ServedDevice
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.errors import PeerFault
from microhypervisor.events import EventLog, Rationed
from microhypervisor.memory.ram import PAGE, RegionKind
from protos import core_pb2, io_pb2
from sessions.channel import ChannelClosed

DEVICE_ID = 5
FEATURES = 1 << 0 | 1 << 2  # MUST_TELL_HOST, DEFLATE_ON_OOM: both ask something of drivers alone
INFLATE = 0  # the first queue; the second deflates
QUEUE_SIZE = 128
MINIMUM = 1 << 20  # bytes that every guest keeps: without any it could not even answer
PIECE = 1024  # pages that are taken at once: about a millisecond
MOST = 1 << 16  # pages that a request may name, those beyond count for nothing; Linux names 256


class Balloon:
    """Of one guest: it keeps `actual` bytes of RAM, and is to keep `target`."""

    def __init__(
        self, device: ServedDevice, endpoint: core_pb2.ServiceEndpoint, events: EventLog
    ) -> None:
        if not isinstance(device, VirtioDevice):
            raise PeerFault(
                f"device {device.config.name}: a balloon has no ports: place it as virtio"
            )
        self.device = device
        self._events = events
        self._rationed = Rationed(events)
        self._ram = [r for r in device.memory.regions if r.kind is RegionKind.RAM]
        self.size = self.target = self.actual = sum(region.size for region in self._ram)
        self._given = bytearray(device.memory.size // PAGE)  # by place in the memfd
        self._lock = threading.Lock()  # taken before the device's

    def set_target(self, target: int) -> None:
        """Ask the guest to keep `target` bytes; PeerFault for what it cannot keep."""
        if target % PAGE or not MINIMUM <= target <= self.size:
            raise PeerFault(
                f"guest {self.device.guest} cannot keep {target} bytes: give a multiple of {PAGE}"
                f" from {MINIMUM} to {self.size}"
            )
        with self._lock:
            self.target = target
            self.device.change_config(self._config_space())
        self._events.emit(self._event("asked"))

    def exchange(self, outgoing: Iterator[io_pb2.CoreMessage]) -> Iterator[io_pb2.ServiceMessage]:
        """See Channel."""
        for message in outgoing:
            before, answer = self.actual, self._answer(message)
            if self.actual == self.target != before:
                self._rationed.emit(self._event("reached"))
            yield answer
        raise ChannelClosed("closed")

    def grant(self, grant: io_pb2.Grant, fd: int) -> None:
        """See Channel; requests are taken inline."""

    def close(self) -> None:
        """See Channel; the exchange ends with what it pulls from."""

    def _event(self, text: str) -> core_pb2.Event:
        event = core_pb2.Event(kind=core_pb2.EVENT_BALLOON_CHANGED, count=self.target, text=text)
        event.guest, event.device = self.device.guest, self.device.config.name
        return event

    def _answer(self, message: io_pb2.CoreMessage) -> io_pb2.ServiceMessage:
        answer = io_pb2.ServiceMessage()
        if message.HasField("attach"):
            answer.opened.SetInParent()
        elif message.HasField("begin"):
            answer.attached.device_id, answer.attached.features = DEVICE_ID, FEATURES
            answer.attached.config_space = self._config_space()
            answer.attached.queues.extend([io_pb2.Queue(max_size=QUEUE_SIZE)] * 2)
        elif message.HasField("reset"):
            with self._lock, self.device.lock:
                self._given, self.actual = bytearray(len(self._given)), self.size
                self._show()
        elif message.HasField("batch"):
            answer.completions.epoch = message.batch.epoch
            for request in message.batch.requests:
                self._serve(request)
                slot, generation = request.slot, request.generation
                answer.completions.completions.add(slot=slot, generation=generation)
        return answer

    def _serve(self, request: io_pb2.Request) -> None:
        payload = memoryview(request.payload)[: 4 * MOST]
        numbers = payload[: len(payload) & ~3].cast("I")
        for at in range(0, len(numbers), PIECE):
            if not self._take(request, numbers[at : at + PIECE]):
                return
            time.sleep(0)  # whoever waits for a lock, or to run at all, comes first

    def _take(self, request: io_pb2.Request, numbers: memoryview) -> bool:
        """A piece of a request; whether that was still there to be served."""
        memory, inflate = self.device.memory, request.queue == INFLATE
        with self._lock, self.device.lock:
            if not self.device.log.find(request.slot, request.generation):
                return False  # the guest has reset the device: these pages may be in use again
            for address, length in self._runs(numbers):
                place = memory.place(address, length)
                assert place is not None
                first, end = place // PAGE, (place + length) // PAGE
                self.actual += self._given.count(1, first, end) * PAGE - inflate * length
                self._given[first:end] = bytes([inflate]) * (end - first)
                if inflate:
                    memory.release(address, length)
            self._show()
        return True

    def _runs(self, numbers: memoryview) -> Iterator[tuple[int, int]]:
        """What is named of this guest's RAM: address and bytes of each contiguous run."""
        pages = sorted(set(numbers))
        for region in self._ram:
            ends = (bisect_left(pages, address // PAGE) for address in (region.base, region.end))
            inside = enumerate(pages[slice(*ends)])
            for _, run in groupby(inside, lambda pair: pair[1] - pair[0]):
                adjacent = [page for _, page in run]
                yield adjacent[0] * PAGE, len(adjacent) * PAGE

    def _config_space(self) -> bytes:
        """num_pages and actual (5.5.4), both in pages that the balloon holds."""
        pages = ((self.size - kept) // PAGE for kept in (self.target, self.actual))
        return struct.pack("<II", *(min(count, 0xFFFFFFFF) for count in pages))

    def _show(self) -> None:
        """Let the driver read what was counted, without an interrupt; under both locks."""
        transport = self.device.transport
        transport.config = self._config_space()
        transport.config_generation = (transport.config_generation + 1) & 0xFFFFFFFF
