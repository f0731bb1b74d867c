"""The transport of 9P over virtio: a tag to mount by, and one queue of requests and replies.

A request is a 9P message in what is readable, its reply the start of what is writable. All are
executed one after the other and answered in order, so a replay is of all that was asked since some
moment. What a request does is in ninep_operations.py and ninep_changes.py, what is remembered
across deaths in ninep_fids.py. That memory is with the driver, not in the state that the core
keeps: it must know of a change before it is made, and the state leaves with its answer.
"""

import errno

from drivers.folders import FolderDriver
from protos.io_pb2 import Request
from service_os.models import ninep_wire as wire
from service_os.models.base import Done, QueueShape, Shape
from service_os.models.ninep_fids import Exhausted, Memory
from service_os.models.ninep_operations import Operations
from service_os.models.ninep_turn import Turn

DEVICE_ID = 9
F_MOUNT_TAG = 1 << 0
QUEUE_SIZE = 128  # Linux cuts a request into as many pieces
MSIZE = 512 << 10  # a request and its reply, of this size each, fit a slot's part of the window


class NinepModel:
    """One shared folder."""

    listening = False
    hungry = False

    def __init__(self, state: bytes, driver: FolderDriver) -> None:
        if state:
            raise ValueError("a shared folder has none")
        tag = driver.tag.encode()
        config = len(tag).to_bytes(2, "little") + tag
        queues = (QueueShape(QUEUE_SIZE, ordered=True),)
        self.shape = Shape(DEVICE_ID, F_MOUNT_TAG, config, queues)
        self.interrupt = False
        self._memory = Memory(driver.note, most=QUEUE_SIZE)
        self._memory.recall(driver.notes())
        self._operations = Operations(driver, self._memory, MSIZE)

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> list[Done]:
        """See Evented."""
        return [Done(request, self._answer(request.generation, readable, writable))]

    def receive(self, data: bytes) -> list[Done]:
        """See Evented; nothing ever comes."""
        return []

    def reset(self) -> list[Done]:
        """See Evented; nothing is ever held. A guest begins a session by Tversion."""
        return []

    def take_output(self) -> tuple[bytes, int]:
        """See Evented; nothing ever leaves."""
        return b"", 0

    def state(self) -> bytes:
        """See Evented; what is to be remembered is with the driver."""
        return b""

    def _answer(self, generation: int, readable: memoryview, writable: memoryview) -> int:
        """How many bytes of `writable` are the reply; none if not even an error has room."""
        try:
            call = wire.parse(readable)
        except wire.Malformed as malformed:
            return _put(wire.error(malformed.tag, errno.EPROTO), writable)
        memory = self._memory
        answer = memory.answer_to(generation)
        if answer and call.kind != wire.T.VERSION and _answers(answer, call):
            return _put(answer, writable)
        if call.kind == wire.T.READ and memory.msize:
            return self._read(call, writable)
        room = min(len(writable), memory.msize or MSIZE)
        turn = Turn(memory, generation, room)
        try:
            answer = wire.reply(call.kind, call.tag, self._operations.body(call, turn))
            if len(answer) > room:
                answer = wire.error(call.tag, errno.EMSGSIZE)
        except (OSError, Exhausted) as error:
            answer = wire.error(call.tag, _number(error))
        if memory.changed or turn.intended:
            try:
                memory.answered(generation, answer)
            except OSError as error:
                answer = wire.error(call.tag, _number(error))
        return _put(answer, writable)

    def _read(self, call: wire.Call, writable: memoryview) -> int:
        """What is read goes where it is to be, without a copy."""
        into = writable[wire.IO_HEADER : self._memory.msize]
        try:
            count = self._operations.read(call.fields, into)
        except OSError as error:
            return _put(wire.error(call.tag, _number(error)), writable)
        if len(writable) < wire.IO_HEADER:
            return 0
        size = wire.IO_HEADER + count
        wire.HEADER.pack_into(writable, 0, size, call.kind + 1, call.tag)
        writable[wire.HEADER.size : wire.IO_HEADER] = count.to_bytes(4, "little")
        return size


def _answers(answer: bytes, call: wire.Call) -> bool:
    """Whether it can be the answer to this call; it is not if the device began anew meanwhile."""
    _, kind, tag = wire.HEADER.unpack_from(answer)
    return tag == call.tag and kind in (call.kind + 1, wire.RLERROR)


def _put(answer: bytes, writable: memoryview) -> int:
    if len(answer) > len(writable):
        return 0
    writable[: len(answer)] = answer
    return len(answer)


def _number(error: Exception) -> int:
    return error.errno or errno.EIO if isinstance(error, OSError) else errno.ENFILE
