"""virtio-net (virtio 1.2, section 5.1), one pair of queues and no offloads, without the network.

Nothing is kept between two incarnations. A frame that was in flight to the outside when one dies is
sent again by the next, so it may go out once for each; one that was on its way to the guest is lost
if the guest had not heard of it. Both queues are answered in order, so frames overtake none.

What does not fit is dropped and counted, as networks do: a frame that is too short or too long, one
whose header asks for an offload that was not offered, and one for which the guest's buffers are too
small. A mergeable buffer may be of any size; what the buffers there are cannot hold is not waited
for, or a guest could wait for ever for its own buffers.

A guest reads its card's address and MTU once, so another driver must come with the same: `refusal`.
"""

import struct
from collections import Counter, deque
from typing import Any

from drivers.ethernet import HEADER as ETHERNET
from drivers.ethernet import MAX_FRAME
from drivers.interface import DriverError, NetDriver
from protos.io_pb2 import Request
from service_os.models.attributes import whole, wrong
from service_os.models.base import Done, QueueShape, Shape

DEVICE_ID = 1
QUEUE_SIZE = 256
RECEIVEQ = 0
TRANSMITQ = 1
HEADER = struct.Struct("<BBHHHHH")  # flags, gso_type, three lengths, csum_offset, num_buffers
CONFIG = struct.Struct("<6sHHH")  # mac, status, max_virtqueue_pairs, mtu
MAC_BYTES = 6
LARGEST_MTU = (1 << 16) - 1

F_MTU = 1 << 3
F_MAC = 1 << 5
F_MRG_RXBUF = 1 << 15
F_STATUS = 1 << 16
NEEDS_CSUM = 1  # of the header's flags
LINK_UP = 1

_BARE = HEADER.pack(0, 0, 0, 0, 0, 0, 1)  # of a frame that lies in one buffer


class NetModel:
    """One network card. `seen` is what its guest has found in a card that was served by another
    driver, and DriverError says why it could not follow to this one.
    """

    def __init__(self, driver: NetDriver, seen: Shape | None = None) -> None:
        if problem := problem_of(driver) or (refusal(seen, driver) if seen else ""):
            raise DriverError(problem)
        self._driver = driver
        features = F_MTU | F_MRG_RXBUF | F_STATUS | (F_MAC if driver.mac else 0)
        queues = (
            QueueShape(QUEUE_SIZE, parks=True, ordered=True),
            QueueShape(QUEUE_SIZE, header_bytes=HEADER.size, ordered=True),
        )
        self.shape = Shape(DEVICE_ID, features, self.config_space(), queues)
        self.listening = False
        self.dropped: Counter[str] = Counter()
        self._mergeable = False
        self._buffers: deque[tuple[Request, memoryview]] = deque()
        self._room = 0  # bytes of all buffers
        self._frames: list[memoryview] = []
        self._done: list[Done] = []

    def config_space(self) -> bytes:
        """See Framed."""
        driver = self._driver
        return CONFIG.pack(driver.mac or bytes(6), LINK_UP if driver.link else 0, 1, driver.mtu)

    def activate(self, features: int) -> None:
        """See Framed."""
        self._mergeable = bool(features & F_MRG_RXBUF)

    def submit(self, request: Request, readable: memoryview, writable: memoryview) -> None:
        """See Framed."""
        if request.queue == RECEIVEQ:
            self.listening = True
            self._buffers.append((request, writable))
            self._room += len(writable)
            return
        header = request.header
        if len(header) < HEADER.size or not ETHERNET <= len(readable) <= MAX_FRAME:
            self.dropped["sent with a wrong length"] += 1
        elif header[0] & NEEDS_CSUM or header[1]:
            self.dropped["sent with an offload"] += 1
        else:
            self._frames.append(readable)
        self._done.append(Done(request))

    def receive(self, inbox: deque[bytes]) -> None:
        """See Framed."""
        buffers = self._buffers
        while buffers:
            area = buffers[0][1]
            if len(area) < HEADER.size:  # of no use, and given back when its turn has come
                self._take(0)
                continue
            if not inbox:
                return
            frame = inbox.popleft()
            end = HEADER.size + len(frame)
            if end <= len(area):
                area[: HEADER.size] = _BARE
                area[HEADER.size : end] = frame
                self._take(end)
            elif self._mergeable and end <= self._room:
                self._spread(frame)
            else:
                self.dropped["too long for the guest's buffers"] += 1

    def take_frames(self) -> list[memoryview]:
        """See Framed."""
        frames, self._frames = self._frames, []
        return frames

    def take_done(self) -> list[Done]:
        """See Framed."""
        done, self._done = self._done, []
        return done

    def reset(self) -> None:
        """See Framed."""
        while self._buffers:
            self._take(0)
        self.listening = self._mergeable = False

    def _take(self, written: int) -> None:
        """The first buffer goes back to the guest with so many bytes."""
        request, area = self._buffers.popleft()
        self._room -= len(area)
        self._done.append(Done(request, written))

    def _spread(self, frame: bytes) -> None:
        """Into several buffers, which are enough."""
        data = memoryview(frame)
        header, at = self._buffers[0][1][: HEADER.size], HEADER.size
        count = 0
        while data:
            area = self._buffers[0][1]
            part = min(len(area) - at, len(data))
            area[at : at + part] = data[:part]
            self._take(at + part)
            data, at, count = data[part:], 0, count + 1
        header[:] = HEADER.pack(0, 0, 0, 0, 0, 0, count)


def problem_of(driver: NetDriver) -> str:
    """What of an open driver is not as it must be, in one line; "" if all is."""
    return wrong(driver, "mac", _is_mac, f"be {MAC_BYTES} bytes, or None") or wrong(
        driver, "mtu", whole(0, LARGEST_MTU), f"be a number of bytes up to {LARGEST_MTU}"
    )


def _is_mac(mac: Any) -> bool:
    return mac is None or (isinstance(mac, bytes) and len(mac) == MAC_BYTES)


def refusal(seen: Shape, driver: NetDriver) -> str:
    """Why a guest that has seen one card cannot be given another, in one line; "" if it can."""
    if seen.device_id != DEVICE_ID:
        return f"the guest knows a device of virtio type {seen.device_id}, which is no network card"
    if len(seen.config_space) != CONFIG.size:
        return "the guest knows a card of another version of splitvisor: restart the guest"
    mac, _, _, mtu = CONFIG.unpack(seen.config_space)
    known = mac if seen.features & F_MAC else None
    if driver.mac != known:
        cure = f"say mac={known.hex(':')}" if known else "leave mac out"
        return (
            f"the guest knows its card by {_named(known)}, not by {_named(driver.mac)}: "
            f"{cure}, or restart the guest with the other driver"
        )
    if driver.mtu not in (0, mtu):
        return (
            f"the guest knows an MTU of {mtu} bytes, not of {driver.mtu}: "
            f"say mtu={mtu}, or restart the guest with the other driver"
        )
    return ""


def _named(mac: bytes | None) -> str:
    return f"the address {mac.hex(':')}" if mac else "an address that it made up"
