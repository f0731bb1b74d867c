"""What the core says to one incarnation about one device, and what it makes of the answers.

The protocol of io.proto without threads, clocks and descriptors: whoever drives it says each
message of `next_message` in turn and gives what comes back to `heard`. A session does so over a
channel, with a thread for each direction; a simulator may do so in any order that a stream allows.

```
          heard opened          said Begin           heard attached
OPENING ──────────────▶ OPENED ────────────▶ BEGUN ─────────────────▶ ATTACHED   OVER from each,
   (standing by, until `begin` is called)  replay             then live           by `close`
```
"""

import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TypeAlias

from microhypervisor.devices.served import ServedDevice
from microhypervisor.errors import PeerFault
from microhypervisor.inflight import InFlight
from microhypervisor.limits import MAX_BATCH, MAX_BATCH_INLINE
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2

Kind: TypeAlias = core_pb2.EventKind.ValueType
Happened = Callable[[Kind, int], None]  # an EVENT_DEVICE_* and its count


class Phase(Enum):
    """How far it has come."""

    OPENING = auto()
    OPENED = auto()
    BEGUN = auto()
    ATTACHED = auto()
    OVER = auto()


class Dialogue:
    """With one incarnation; `happened` hears of each step, on the thread that made it.

    `spec` is that of the driver, if it is not the one that the device has.

    `next_message` is for one thread, `heard` and `close` for one thread, the rest for any.
    """

    def __init__(
        self,
        device: ServedDevice,
        endpoint: core_pb2.ServiceEndpoint,
        happened: Happened,
        spec: str = "",
    ) -> None:
        self.device = device
        self.spec = spec or device.config.spec
        self.epoch = endpoint.epoch
        self.window: GrantWindow | None = None  # where payload travels; without one, inline
        self.grant = 0  # the number of the window's
        self.phase = Phase.OPENING
        self.patience_ms = 0  # of the driver, as Opened has it
        self.finished = False  # there is nothing more to say, by `end`
        self._token = endpoint.token
        self._happened = happened
        self._lock = threading.Lock()  # of `phase` and what decides on it
        self._wanted = self._begun = self._ended = self._resumed = False
        self._alone = False
        self._turn = 0  # the device's, when its epoch became ours
        self._again = False  # another incarnation served the device before
        self._owed: list[InFlight] = []  # replayed requests that others wait for
        self._saying = self._say()

    @property
    def wanted(self) -> bool:
        """Whether `begin` was called."""
        return self._wanted

    def begin(self, alone: bool = False) -> bool:
        """Have this incarnation serve; whether that is still possible.

        `alone`: no other device begins or is replayed, for a death is to be laid to its cause.
        """
        with self._lock:
            self._alone = alone
            self._wanted = self.phase is not Phase.OVER
            return self._wanted

    def end(self) -> None:
        """Say nothing more, after the message that is on its way; `finished` tells when."""
        self._ended = True

    def close(self) -> Phase:
        """The stream is gone; how far it had come."""
        with self._lock:
            phase, self.phase = self.phase, Phase.OVER
        if self._turn:
            self.device.lost(self._turn)
        return phase

    def next_message(self) -> io_pb2.CoreMessage | None:
        """What is to be said now; None: nothing until `begin` is called, then until it rings."""
        return next(self._saying, None)

    def heard(self, message: io_pb2.ServiceMessage) -> bool:
        """Deal with what came back; whether that led on. PeerFault if it ends the stream."""
        if message.HasField("completions"):
            if self.phase is not Phase.ATTACHED:
                raise PeerFault("the service OS completed requests before it attached")
            done = self.device.accept(message.completions, self.epoch, self.window)
            if done and not self._resumed:
                self._resumed = True
                self._happened(core_pb2.EVENT_DEVICE_RESUMED, 0)
            if self._owed:
                self.device.ring()
            return done > 0
        if message.HasField("opened"):
            self._opened(message.opened)
            return True
        if message.HasField("attached"):
            self._attached(message.attached)
            return True
        if message.HasField("config_change"):
            if self.phase is not Phase.ATTACHED:
                raise PeerFault("the service OS changed a configuration before it attached")
            self.device.change_config(message.config_change.config_space)
        return False

    def _opened(self, opened: io_pb2.Opened) -> None:
        self.patience_ms = opened.patience_ms
        with self._lock:
            if self.phase is Phase.OPENING:
                self.phase = Phase.BEGUN if self._begun else Phase.OPENED
            elif self.phase is not Phase.OVER:
                raise PeerFault("the service OS opened twice")
        self._happened(core_pb2.EVENT_DEVICE_OPENED, 0)

    def _attached(self, attached: io_pb2.Attached) -> None:
        if self.phase is Phase.ATTACHED:
            raise PeerFault("the service OS attached twice")
        if self.phase is not Phase.BEGUN:
            raise PeerFault("the service OS attached before it was to begin")
        self._again = self.device.description() is not None
        self.device.adopt(attached)
        with self._lock:
            if self.phase is Phase.BEGUN:
                self.phase = Phase.ATTACHED
        waits = self._again and not self.device.patience_ms
        self._happened(core_pb2.EVENT_DEVICE_ATTACHED, int(waits))
        self.device.ring()

    def _say(self) -> Iterator[io_pb2.CoreMessage | None]:
        device = self.device
        yield self._attach()
        while not self._wanted:
            yield None
        begin = io_pb2.Begin(state=device.state)
        if self._ahead():
            activation, entries = self._take_over()
            if activation:
                begin.activate.CopyFrom(activation.activate)
            with device.lock:
                rest = self._fill(begin.replay, entries, replay=True)
            yield io_pb2.CoreMessage(begin=begin)
        else:
            yield io_pb2.CoreMessage(begin=begin)
            while self.phase is not Phase.ATTACHED:
                yield None
            activation, entries = self._take_over()
            if activation:
                yield activation
            rest = entries
        yield from self._batches(rest, replay=True)
        while self.phase is not Phase.ATTACHED:
            yield None
        yield from self._await_replayed(entries)
        while not self._ended:
            if control := device.next_control():
                yield control
            elif fresh := device.collect():
                yield from self._batches(fresh, replay=False)
            elif not device.listen():
                yield None
        yield io_pb2.CoreMessage(end=io_pb2.End())
        self.finished = True

    def _ahead(self) -> bool:
        """Begin is said now; whether what was in flight goes with it, which saves a round trip.

        It cannot where the device is not known or not open yet, and is not to where a cause of
        deaths is looked for: one in Begin must not look like one in the replay.
        """
        with self._lock:
            self._begun = True
            if self.phase is not Phase.OPENED:
                return False
            self.phase = Phase.BEGUN
            return not self._alone and self.device.description() is not None

    def _take_over(self) -> tuple[io_pb2.CoreMessage | None, list[InFlight]]:
        activation, entries = self.device.begin_epoch()
        self._turn = self.device.turn
        self._owed = [entry for entry in entries if entry.queue not in self.device.parking]
        return activation, entries

    def _await_replayed(self, entries: list[InFlight]) -> Iterator[io_pb2.CoreMessage | None]:
        device = self.device
        find = device.log.find
        while self._owed:
            self._owed = [e for e in self._owed if find(e.slot, e.generation)]
            if control := device.next_control():  # a reset by the guest does not wait
                yield control
            elif self._owed:
                yield None
        if entries or self._again:
            self._happened(core_pb2.EVENT_DEVICE_REPLAYED, len(entries))

    def _attach(self) -> io_pb2.CoreMessage:
        device, config = self.device, self.device.config
        attach = io_pb2.Attach(epoch=self.epoch, token=self._token, guest=device.guest)
        attach.device, attach.model, attach.spec = config.name, config.model, self.spec
        if (seen := device.description()) is not None:
            attach.seen.CopyFrom(seen)
            attach.seen.ClearField("state")  # comes with Begin
        if self.window:
            attach.window.bytes, attach.window.stride = self.window.size, self.window.stride
            attach.window.number = self.grant
        return io_pb2.CoreMessage(attach=attach)

    def _batches(self, entries: list[InFlight], replay: bool) -> Iterator[io_pb2.CoreMessage]:
        while entries:
            message = io_pb2.CoreMessage()
            with self.device.lock:
                entries = self._fill(message.batch, entries, replay)
            if message.batch.requests:
                yield message

    def _fill(self, batch: io_pb2.IoBatch, entries: list[InFlight], replay: bool) -> list[InFlight]:
        """Put the first of these requests into a batch; those that did not fit.

        Under the lock, for a guest may reset the device at any time, and then its buffers are its
        own again: what is no longer in the log is not sent with whatever is there by now.
        """
        inlined, device = 0, self.device
        batch.epoch, batch.replay = self.epoch, replay
        for taken, entry in enumerate(entries, 1):
            if device.recall(entry):
                inlined += self._add(batch, entry)
            if len(batch.requests) == MAX_BATCH or inlined >= MAX_BATCH_INLINE:
                return entries[taken:]
        return []

    def _add(self, batch: io_pb2.IoBatch, entry: InFlight) -> int:
        """Put a request into a batch, its payload where it belongs; returns the bytes inlined.

        Messages are filled in place: protobuf copies those that are made apart.
        """
        slot, generation, readable = entry.slot, entry.generation, entry.readable_bytes
        if entry.access is not None:
            batch.requests.add(slot=slot, generation=generation, access=entry.access)
            return 0
        ram, window = self.device.memory.view, self.window
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
