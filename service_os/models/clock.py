"""virtio-rtc (virtio 1.4, "RTC Device") without the clock behind it.

It has one clock, of UTC. Whether the host smears leap seconds over a day or steps at them is for
whoever keeps its clock right, so it says that it may do either. A monotonic clock is none of what
drivers have, and which value of the time-stamp counter belongs to a reading is known where the
guest's processor is: cross-timestamps are not supported, and neither are alarms.

Each request is answered from itself and the driver alone, so executing one again is a later
reading, which is allowed as long as readings come in the order of their requests.
"""

import struct

from drivers.interface import ClockDriver, MediumError
from service_os.models.attributes import nanoseconds
from service_os.models.base import QueueShape, Shape

DEVICE_ID = 17
QUEUE_SIZE = 64
CLOCKS = 1

READ, READ_CROSS = 0x0001, 0x0002
CFG, CLOCK_CAP, CROSS_CAP = 0x1000, 0x1001, 0x1002

S_OK, S_EOPNOTSUPP, S_ENODEV, S_EINVAL, S_EIO = 0, 2, 3, 4, 5

UTC_MAYBE_SMEARED = 4  # the type of the clock; there is no smearing variant to tell
ARM_VCT, X86_TSC, NO_COUNTER = 0, 1, 0xFF  # hardware counters

# Type and reserved bytes, which are the head; clock, counter and reserved bytes.
REQUEST = struct.Struct("<H6sHB5s")
HEAD = 8  # bytes, of requests and of responses
SIZES = {  # of request and response
    READ: (16, 16),
    READ_CROSS: (16, 24),
    CFG: (8, 16),
    CLOCK_CAP: (16, 16),
    CROSS_CAP: (16, 16),
}
COUNTING = (READ_CROSS, CROSS_CAP)  # in others the counter's byte is a reserved one

LATEST = (1 << 64) - 1  # nanoseconds since 1970


class ClockModel:
    """One clock."""

    shape = Shape(DEVICE_ID, queues=(QueueShape(QUEUE_SIZE, REQUEST.size, ordered=True),))

    def __init__(self, driver: ClockDriver) -> None:
        self._clock = driver

    def execute(self, queue: int, header: bytes, readable: memoryview, writable: memoryview) -> int:
        """See Immediate. The first writable byte is the status; without one nothing is done."""
        try:
            status, body = self._answer(header, len(writable))
        except MediumError:
            status, body = S_EIO, b""
        answer = (status.to_bytes().ljust(HEAD, b"\0") + body)[: len(writable)]
        writable[: len(answer)] = answer
        return len(answer)

    def _answer(self, request: bytes, room: int) -> tuple[int, bytes]:
        """The status, and what follows upon the head of a response into which it has to fit."""
        if len(request) < HEAD:
            return S_EINVAL, b""
        kind = int.from_bytes(request[:2], "little")
        if kind not in SIZES:
            return S_EOPNOTSUPP, b""
        asked, answered = SIZES[kind]
        if len(request) < asked or room < answered:
            return S_EINVAL, b""
        if wrong := _wrong(request[:asked]):
            return wrong, b""
        if kind == CFG:
            return S_OK, struct.pack("<H6x", CLOCKS)
        if kind == CLOCK_CAP:
            return S_OK, struct.pack("<B7x", UTC_MAYBE_SMEARED)
        if kind == CROSS_CAP:
            return S_OK, bytes(8)
        return self._read() if kind == READ else (S_EOPNOTSUPP, b"")

    def _read(self) -> tuple[int, bytes]:
        now = nanoseconds(self._clock)
        return (S_OK, struct.pack("<Q", now)) if 0 <= now <= LATEST else (S_EIO, b"")


def _wrong(request: bytes) -> int:
    """The status of a request whose values are not those of the specification, else 0."""
    kind, reserved, clock, counter, more = REQUEST.unpack(request.ljust(REQUEST.size, b"\0"))
    if clock >= CLOCKS:
        return S_ENODEV
    if kind in COUNTING:
        if counter not in (ARM_VCT, X86_TSC, NO_COUNTER):
            return S_EOPNOTSUPP
        if counter == NO_COUNTER:
            return S_EINVAL
    elif counter:
        return S_EINVAL
    return S_EINVAL if any(reserved + more) else S_OK
