"""virtio-console (virtio 1.2, section 5.3), one port, without the terminal.

What a guest must not lose with this process is in the state: how far its output has come, and the
input that was fetched for it and not yet taken. The state travels with the completions that change
it, so a replayed transmission is put out again at the very position it had. A position is the
driver's: where another one has taken its place, output goes on at that one's origin.
"""

import struct
from collections import deque

from protos.io_pb2 import Request
from service_os.models.base import Done, QueueShape, Shape

DEVICE_ID = 3
QUEUE_SIZE = 256
RECEIVEQ = 0
TRANSMITQ = 1

STATE = struct.Struct("<B?Q8s")  # version, the input has ended, position, driver; input follows
VERSION = 2

# Input is fetched only while less than this waits for the guest, so that what nobody reads stays
# with its source. A fetch may add one chunk more.
INPUT_BYTES = 4096
END_OF_INPUT = b"\x04"  # what a terminal makes of the end of its input: Ctrl-D


class ConsoleModel:
    """One console. `origin` is the position of its first byte at a driver, whose `word` has eight
    bytes.
    """

    shape = Shape(DEVICE_ID, queues=(QueueShape(QUEUE_SIZE, parks=True), QueueShape(QUEUE_SIZE)))
    interrupt = False

    def __init__(self, state: bytes, origin: int, word: bytes = bytes(8)) -> None:
        self.listening = False
        self._ended = False
        self._position = origin
        self._word = word
        self._input = bytearray()
        self._output = bytearray()
        self._buffers: deque[tuple[Request, memoryview]] = deque()
        if state:
            if len(state) < STATE.size or state[0] != VERSION:
                raise ValueError(f"not a console's state of version {VERSION}")
            _, self._ended, position, before = STATE.unpack_from(state)
            self._position = position if before == word else origin
            self._input += state[STATE.size :]

    @property
    def hungry(self) -> bool:
        """See Evented."""
        return len(self._input) < INPUT_BYTES

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> list[Done]:
        """See Evented."""
        if request.queue == TRANSMITQ:
            self._output += request.header
            self._output += readable
            return [Done(request)]
        if request.queue != RECEIVEQ or not writable:
            return [Done(request)]
        self.listening = True
        self._buffers.append((request, writable))
        return self._fill()

    def receive(self, data: bytes) -> list[Done]:
        """See Evented."""
        if not data and not self._ended:
            self._ended = True
            data = END_OF_INPUT
        self._input += data
        return self._fill()

    def reset(self) -> list[Done]:
        """See Evented."""
        held = [Done(request) for request, _ in self._buffers]
        self._buffers.clear()
        return held

    def take_output(self) -> tuple[bytes, int]:
        """See Evented."""
        data, position = bytes(self._output), self._position
        self._output.clear()
        self._position += len(data)
        return data, position

    def state(self) -> bytes:
        """See Evented."""
        return STATE.pack(VERSION, self._ended, self._position, self._word) + self._input

    def _fill(self) -> list[Done]:
        done: list[Done] = []
        while self._input and self._buffers:
            request, writable = self._buffers.popleft()
            count = min(len(self._input), len(writable))
            writable[:count] = self._input[:count]
            del self._input[:count]
            done.append(Done(request, count))
        return done
