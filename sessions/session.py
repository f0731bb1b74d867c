"""One incarnation of a service OS serving one device: attach, activate, replay, then live traffic.

Two threads carry the hot path. The sending one (gRPC's own, which pulls `_outgoing`) blocks on the
doorbell, pops what the guest offers and copies it into the window; the receiving one checks
completions and puts them into the used ring. They meet only in the device's lock.
"""

import os
import threading
from collections.abc import Callable, Iterator

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.inflight import InFlight
from microhypervisor.limits import (
    ATTACH_TIMEOUT_S,
    MAX_BATCH,
    MAX_BATCH_INLINE,
    MAX_SLOTS,
    SLOT_STRIDE,
)
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2
from sessions.channel import Channel


class Session:
    """A device attached to an incarnation, until the stream breaks or `close` is called."""

    def __init__(
        self,
        device: ServedDevice,
        endpoint: core_pb2.ServiceEndpoint,
        channel: Channel,
        lost: Callable[["Session", str], None],
        replayed: Callable[["Session", int], None],
    ) -> None:
        self.device = device
        self.epoch = endpoint.epoch
        self.attached = False
        self.problem: PeerFault | None = None
        self._token = endpoint.token
        self.channel = channel
        self._lost = lost
        self._replayed = replayed
        self._window: GrantWindow | None = None
        self._answered = threading.Event()  # attached, or known to have failed
        self._closing = False
        self._sending = threading.Lock()
        self._owed: set[tuple[int, int]] = set()  # replayed requests that others wait for
        name = f"{device.guest}/{device.config.name}"
        self._thread = threading.Thread(target=self._receive, name=f"session {name}", daemon=True)

    def open(self) -> PeerFault | None:
        """Attach; returns why it failed, if it did. Blocks at most ATTACH_TIMEOUT_S."""
        try:
            self._grant()
        except (PeerFault, EnvironmentFault) as error:
            self.channel.close()
            if self._window:
                self._window.close()
            return error if isinstance(error, PeerFault) else PeerFault(str(error))
        self._thread.start()
        if not self._answered.wait(ATTACH_TIMEOUT_S):
            self.close()
            self.problem = PeerFault(f"no answer to Attach within {ATTACH_TIMEOUT_S:g} s")
        elif self.problem:
            self.close()
        return self.problem

    def close(self) -> None:
        """End the exchange and wait until nobody touches the device on its behalf."""
        self._closing = True
        self.channel.close()
        self.device.ring()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _grant(self) -> None:
        guest, config = self.device.guest, self.device.config
        if not config.inline_payload:
            self._window = GrantWindow(f"{guest}/{config.name}", MAX_SLOTS, SLOT_STRIDE)
            grant = io_pb2.Grant(epoch=self.epoch, token=self._token)
            grant.guest, grant.device = guest, config.name
            self.channel.grant(grant, self._window.fd)

    def _receive(self) -> None:
        device = self.device
        problem = PeerFault("a bug of the core: see its log")
        try:
            for message in self.channel.exchange(self._pull()):
                if message.HasField("completions"):
                    device.accept(message.completions, self.epoch, self._window)
                    if self._owed:
                        self._settle()
                elif message.HasField("attached"):
                    self._adopt(message.attached)
                elif message.HasField("config_change"):
                    device.change_config(message.config_change.config_space)
        except PeerFault as fault:
            problem = fault
        finally:
            self._end(problem)

    def _end(self, problem: PeerFault) -> None:
        was_attached, self.attached = self.attached, False
        asked, self._closing = self._closing, True
        self.channel.close()
        self.device.ring()
        with self._sending:
            if self._window:
                self._window.close()
        self.device.lost()
        if not was_attached:
            self.problem = problem
            self._answered.set()
        elif not asked:
            self._lost(self, str(problem))

    def _adopt(self, attached: io_pb2.Attached) -> None:
        if self.attached:
            raise PeerFault("the service OS attached twice")
        self.device.adopt(attached)
        self.attached = True
        self._answered.set()
        self.device.ring()

    def _settle(self) -> None:
        self._owed = {key for key in self._owed if self.device.log.find(*key)}
        if not self._owed:
            self.device.ring()

    def _pull(self) -> Iterator[io_pb2.CoreMessage]:
        """What gRPC's sending thread iterates; it is outside while one holds `_sending`."""
        outgoing = self._outgoing()
        while True:
            with self._sending:
                message = None if self._closing else next(outgoing, None)
            if message is None:
                return
            yield message

    def _outgoing(self) -> Iterator[io_pb2.CoreMessage]:
        device = self.device
        yield self._attach()
        yield io_pb2.CoreMessage(begin=io_pb2.Begin(state=device.state))
        while not self.attached:
            os.eventfd_read(device.doorbell)
            if self._closing:
                return
        activation, entries = device.begin_epoch()
        if activation:
            yield activation
        if entries:
            yield from self._replay(entries)
        while not self._closing:
            if control := device.next_control():
                yield control
            elif fresh := device.collect():
                yield from self._batches(fresh, replay=False)
            elif not device.listen():
                os.eventfd_read(device.doorbell)

    def _replay(self, entries: list[InFlight]) -> Iterator[io_pb2.CoreMessage]:
        device = self.device
        self._owed = {(e.slot, e.generation) for e in entries if e.queue not in device.parking}
        yield from self._batches(entries, replay=True)
        while self._owed and not self._closing:
            if control := device.next_control():  # a reset by the guest does not wait
                yield control
            else:
                os.eventfd_read(device.doorbell)
        if not self._closing:
            self._replayed(self, len(entries))

    def _attach(self) -> io_pb2.CoreMessage:
        device, config = self.device, self.device.config
        attach = io_pb2.Attach(epoch=self.epoch, token=self._token, guest=device.guest)
        attach.device, attach.model, attach.spec = config.name, config.model, config.spec
        if self._window:
            attach.window.bytes, attach.window.stride = self._window.size, self._window.stride
        return io_pb2.CoreMessage(attach=attach)

    def _batches(self, entries: list[InFlight], replay: bool) -> Iterator[io_pb2.CoreMessage]:
        message, inlined = self._batch(replay), 0
        for entry in entries:
            inlined += self._add(message.batch, entry)
            if len(message.batch.requests) == MAX_BATCH or inlined >= MAX_BATCH_INLINE:
                yield message
                message, inlined = self._batch(replay), 0
        if message.batch.requests:
            yield message

    def _batch(self, replay: bool) -> io_pb2.CoreMessage:
        message = io_pb2.CoreMessage()
        message.batch.epoch, message.batch.replay = self.epoch, replay
        return message

    def _add(self, batch: io_pb2.IoBatch, entry: InFlight) -> int:
        """Put a request into a batch, its payload where it belongs; returns the bytes inlined.

        Messages are filled in place: protobuf copies those that are made apart.
        """
        slot, generation, readable = entry.slot, entry.generation, entry.readable_bytes
        if entry.access is not None:
            batch.requests.add(slot=slot, generation=generation, access=entry.access)
            return 0
        ram, window = self.device.memory.view, self._window
        request = batch.requests.add(
            slot=slot,
            generation=generation,
            queue=entry.queue,
            header=entry.header,
            readable=readable,
            writable=entry.writable_bytes,
        )
        if window is not None and window.fits(readable, entry.writable_bytes):
            window.offer(slot, ram, entry.readable, entry.writable_bytes)
            return 0
        request.inlined = True
        request.payload = b"".join(ram[at : at + length] for at, length in entry.readable)
        return readable + entry.writable_bytes
