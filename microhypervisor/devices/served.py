"""A device that somebody else serves: what virtio devices and legacy ports have in common.

A device outlives its service OS. It keeps the in-flight log, the opaque state and the counters;
an incarnation is one session (see sessions/), which pulls requests out of here with `collect` and
puts completions back with `accept`.
"""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from microhypervisor.errors import PeerFault
from microhypervisor.inflight import InFlight, InflightLog
from microhypervisor.limits import MAX_CONTROL, MAX_HEADER, MAX_STATE, OUTAGE_GRACE_S
from microhypervisor.memory.ram import GuestMemory
from microhypervisor.memory.window import GrantWindow
from protos import core_pb2, io_pb2

MAX_CONFIG = 0xF00  # of configuration space; what is left of a register page

Config = core_pb2.DeviceConfig
Notice = Callable[[str], None]
Done = tuple[InFlight, io_pb2.Completion]


class Serving(Protocol):
    """What finds somebody who serves a device (see sessions/)."""

    def add(self, device: "ServedDevice") -> None:
        """Have a new device served; PeerFault if nobody will."""

    def remove(self, device: "ServedDevice") -> None:
        """The device is no more; nobody touches it when this returns."""


class ServedDevice(ABC):
    """State of a device across all incarnations of its service OS."""

    def __init__(self, guest: str, config: Config, memory: GuestMemory, notice: Notice) -> None:
        self.guest = guest
        self.config = config
        self.memory = memory
        self.status = core_pb2.DeviceStatus(
            name=config.name, model=config.model, service=config.service
        )  # its counters are written under the lock, read by anyone
        self.log = InflightLog()
        self.state = b""
        self.served = False  # by an incarnation that attached and has not gone
        self.turn = 0  # how many took over
        self.held = False  # nothing new is collected; changed under the lock
        self.patience_ms = 0  # as Attached has them
        self.failure = b""
        self.doorbell = os.eventfd(0, os.EFD_CLOEXEC)
        self._bell = threading.Lock()  # `ring` is called with and without the lock
        self.lock = threading.Lock()
        self.parking: frozenset[int] = frozenset()  # queues that wait for the world outside
        self.notice = notice  # tells the operator why the device needs a reset
        self._shape: io_pb2.Attached | None = None  # without what may change
        self._control: deque[io_pb2.CoreMessage] = deque()
        self._drained = threading.Condition(self.lock)
        self._interrupt: Callable[[], None] = lambda: None

    def wire_interrupt(self, pulse: Callable[[], None]) -> None:
        """Connect the device's interrupt line."""
        self._interrupt = pulse

    def ring(self) -> None:
        """Wake whoever waits for requests; nobody does once the device is closed."""
        with self._bell:
            if self.doorbell >= 0:
                os.eventfd_write(self.doorbell, 1)

    def tell(self, message: io_pb2.CoreMessage) -> None:
        """Queue a control message for the incarnation that serves now, in order; under the lock."""
        if message.HasField("reset"):
            self._control.clear()  # what went before has no meaning any more
        last = self._control[-1] if self._control else None
        if last and last.HasField("activate") and message.HasField("activate"):
            self._control.pop()
        if len(self._control) < MAX_CONTROL or not message.HasField("config_write"):
            self._control.append(message)
        self.ring()

    def next_control(self) -> io_pb2.CoreMessage | None:
        """The oldest control message not yet sent."""
        with self.lock:
            return self._control.popleft() if self._control else None

    def begin_epoch(self) -> tuple[io_pb2.CoreMessage | None, list[InFlight]]:
        """A new incarnation takes over: what it must know, and what it has to do first."""
        with self.lock:
            self._control.clear()
            self._forget_fresh()
            entries = self.log.begin_epoch()
            self.status.replayed += len(entries)
            self.served = True
            self.turn += 1
            self._drained.notify_all()
            return self._activation(), entries

    def _forget_fresh(self) -> None:  # noqa: B027  most kinds have nothing of the sort
        """Drop requests that are logged but not collected: they are among what is replayed."""

    @abstractmethod
    def _describe(self, attached: io_pb2.Attached) -> None:
        """Learn what the device is, once."""

    def adopt(self, attached: io_pb2.Attached) -> None:
        """Learn what the device is; PeerFault if it is not what the guest has seen already."""
        state, config = attached.state, attached.config_space
        self._check_state(state)
        if len(attached.failure) > MAX_HEADER:
            raise PeerFault(f"device {self.config.name}: {len(attached.failure)} bytes of failure")
        if len(config) > MAX_CONFIG:
            raise PeerFault(f"device {self.config.name}: {len(config)} bytes of configuration")
        shape = io_pb2.Attached()
        shape.CopyFrom(attached)
        shape.ClearField("state")
        shape.ClearField("config_space")
        shape.ClearField("patience_ms")
        shape.ClearField("failure")
        if self._shape is None:
            self._describe(attached)
            self._shape = shape
        elif shape != self._shape:
            raise PeerFault(f"device {self.config.name} is not what the guest has seen before")
        elif config != self._config_space():
            self.change_config(config)
        self.state, self.held = state, False
        self.patience_ms, self.failure = attached.patience_ms, attached.failure

    def description(self) -> io_pb2.Attached | None:
        """What an incarnation would say that changes nothing; None before the first has said it."""
        if self._shape is None:
            return None
        said = io_pb2.Attached(state=self.state, config_space=self._config_space())
        said.patience_ms, said.failure = self.patience_ms, self.failure
        said.MergeFrom(self._shape)
        return said

    def _config_space(self) -> bytes:
        """As the guest sees it now."""
        return b""

    def _check_state(self, state: bytes) -> None:
        if len(state) > MAX_STATE:
            raise PeerFault(
                f"device {self.config.name}: a state of {len(state)} bytes is too large"
            )

    @abstractmethod
    def _activation(self) -> io_pb2.CoreMessage | None:
        """What a new incarnation must know before its first request."""

    @abstractmethod
    def collect(self) -> list[InFlight]:
        """New requests, logged as in flight; at most MAX_BATCH, and none while held."""

    @property
    def in_use(self) -> bool:
        """Whether the guest has a driver for it that is ready."""
        return self._activation() is not None

    def change_config(self, config_space: bytes) -> None:
        """The service OS changed the configuration space; PeerFault where there is none."""
        raise PeerFault(f"device {self.config.name} has no configuration space")

    @abstractmethod
    def listen(self) -> bool:
        """Have the guest ring for the next request; True if there is one already."""

    @abstractmethod
    def quiesce(self, timeout_s: float) -> None:
        """Take what the guest has rung for, have it answered, and accept nothing more."""

    @abstractmethod
    def _finish(self, done: list[Done], window: GrantWindow | None) -> bool:
        """Give results to the guest, under the lock; whether it wants an interrupt."""

    def _is_wrong(self, completion: io_pb2.Completion) -> bool:
        """Whether it names no request that is owed, or is longer than what was writable."""
        entry = self.log.find(completion.slot, completion.generation)
        if entry is None:
            return not self.log.is_orphan(completion.slot, completion.generation)
        return completion.written > entry.writable_bytes

    def accept(self, message: io_pb2.Completions, epoch: int, window: GrantWindow | None) -> int:
        """Check what a service OS says is done and give it to the guest; how many requests it was.

        Anything of another epoch, slot or generation, or longer than what was writable, is
        dropped and counted; a message with a state is dropped whole. PeerFault for what overtakes
        others of an ordered queue: their completions are lost.
        """
        log, status, overtaker = self.log, self.status, None
        with self.lock:
            if message.epoch != epoch:
                status.dropped += max(1, len(message.completions))
                return 0
            if message.HasField("state"):
                if log.ordered or any(map(self._is_wrong, message.completions)):
                    status.dropped += len(message.completions)
                    return 0  # a state tells of all that it came with
                self._check_state(message.state)
                self.state = message.state
            settled = log.settled
            done: list[Done] = []
            for completion in message.completions:
                entry = log.find(completion.slot, completion.generation)
                if entry is None:
                    if not log.absorb_orphan(completion.slot, completion.generation):
                        status.dropped += 1
                elif completion.written > entry.writable_bytes:
                    status.dropped += 1
                elif log.overtakes(entry):
                    overtaker = entry
                    break
                else:
                    log.retire(entry)
                    done.append((entry, completion))
            status.completions += len(done)
            interrupt = self._finish(done, window) if done else False
            if interrupt or message.interrupt:
                status.interrupts += 1
                self._interrupt()
            self._drained.notify_all()
        if log.settled and not settled:
            self.ring()
        if overtaker:
            raise PeerFault(f"a completion of queue {overtaker.queue} was lost: others overtake it")
        return len(done)

    def owes(self) -> bool:
        """Whether an incarnation has requests, other than of those that park, to answer."""
        if self.log.idle:
            return False
        with self.lock:
            return self._owes()

    def _owes(self) -> bool:
        return self.log.owes(self.parking)

    def oldest(self) -> int | None:
        """The generation of the oldest request in flight that does not park."""
        with self.lock:
            return self.log.oldest(self.parking)

    def hold(self, on: bool) -> None:
        """Collect nothing more, until an incarnation attaches or this is undone."""
        with self.lock:
            self.held = on
        self.ring()

    def wait_answered(self, gone: Callable[[], bool], timeout_s: float) -> bool:
        """Of a held device: whether all that `owes` tells of is answered, or can never be."""
        with self.lock:
            return self._drained.wait_for(lambda: gone() or not self._owes(), timeout_s)

    def recall(self, entry: InFlight) -> bool:
        """Whether a request that was not sent yet still is to be; under the lock."""
        if self.log.find(entry.slot, entry.generation):
            return True
        self.log.absorb_orphan(entry.slot, entry.generation)
        self._drained.notify_all()
        return False

    def lost(self, turn: int) -> None:
        """Who took over as number `turn` is gone; that matters unless somebody else has by now."""
        with self.lock:
            self.served = self.served and turn != self.turn
            self._drained.notify_all()

    def wait_drained(self, timeout_s: float) -> bool:
        """Whether all was answered in time, by whoever serves or will serve the device soon."""
        with self.lock:
            self._wait(self._undone, timeout_s)
            return self.log.idle

    def _undone(self) -> bool:
        """What a reset left behind dies with its incarnation; what is in the log does not."""
        return len(self.log) > 0 or (self.served and not self.log.settled)

    def _wait(self, busy: Callable[[], bool], timeout_s: float) -> None:
        """While `busy`, for whoever serves the device or will serve it soon; under the lock."""
        deadline = time.monotonic() + timeout_s
        while busy():
            served, left = self.served, deadline - time.monotonic()
            until = partial(self._turned, served, busy)
            if not self._drained.wait_for(until, left if served else min(left, OUTAGE_GRACE_S)):
                return

    def _turned(self, served: bool, busy: Callable[[], bool]) -> bool:
        return self.served != served or not busy()

    def close(self) -> None:
        """Give the doorbell back; no session is left."""
        with self._bell:
            doorbell, self.doorbell = self.doorbell, -1
            os.close(doorbell)
