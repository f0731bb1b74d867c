"""What a device model is: the part of a device that knows its kind, and nothing else.

A model turns requests into completions. It holds no socket, thread or clock, so a test can play
it as a transcript. There are two sorts:

* `Immediate` models (block, clock, entropy, virtio) answer a request while it is executed. They
  are the hot path.
* `Evented` models (console, UART, real-time clock, folder) may hold a request until something
  arrives, and have a state that outlives the process: the blob that `state` gives and the
  constructor takes.
* `Framed` models (net) do as well, a batch at a time, and have no state.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protos.io_pb2 import Request


class BadMessage(Exception):
    """The core sent what the contract in protos/io.proto forbids."""


@dataclass(frozen=True, slots=True)
class QueueShape:
    """A virtqueue, as protos/io.proto describes it."""

    max_size: int
    header_bytes: int = 0
    parks: bool = False  # requests are held here until something arrives
    ordered: bool = False  # requests are answered in the order they came


@dataclass(frozen=True, slots=True)
class Shape:
    """What the guest finds. `device_id` as in virtio 1.2 section 5; 0 for port devices."""

    device_id: int
    features: int = 0
    config_space: bytes = b""
    queues: tuple[QueueShape, ...] = ()
    slots: int = 0  # port devices: how many accesses may be in flight
    failure: bytes = b""  # how a request fails, see protos/io.proto


class Done(NamedTuple):
    """A request that is complete."""

    request: Request
    written: int = 0  # bytes, from the start of its writable area
    value: int = 0  # port reads: what the port gave


class Immediate(Protocol):
    """A model that answers at once."""

    shape: Shape

    def execute(self, queue: int, header: bytes, readable: memoryview, writable: memoryview) -> int:
        """Do what is asked; how many bytes of `writable` (cleared beforehand) are written."""


class Evented(Protocol):
    """A model that answers when it can."""

    shape: Shape
    listening: bool  # the guest waits for input; before that none is fetched for it
    interrupt: bool  # port devices: pulse the line; whoever sees to it sets it back

    @property
    def hungry(self) -> bool:
        """More input is welcome."""

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> list[Done]:
        """Take a request; what became complete by it."""

    def receive(self, data: bytes) -> list[Done]:
        """Take input from outside, no bytes for its end; what became complete by it."""

    def reset(self) -> list[Done]:
        """Give back every request that is held."""

    def take_output(self) -> tuple[bytes, int]:
        """What the guest has put out since the last call, and the position of its first byte."""

    def state(self) -> bytes:
        """All that must survive this process."""


class Framed(Protocol):
    """A model of a device that takes and brings frames, many at a time."""

    shape: Shape
    listening: bool  # the guest has offered buffers; before that nothing is brought
    dropped: Counter[str]  # frames, by the reason

    def config_space(self) -> bytes:
        """The configuration space as it is now; it changes with the link."""

    def activate(self, features: int) -> None:
        """The guest's driver runs, with these features."""

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> None:
        """Take a request."""

    def receive(self, inbox: deque[bytes]) -> None:
        """Take frames for the guest from the left, as many as there are buffers for."""

    def take_frames(self) -> list[memoryview]:
        """What is to go out, before anything is completed."""

    def take_done(self) -> list[Done]:
        """What became complete since the last call."""

    def reset(self) -> None:
        """Give back every request that is held."""
