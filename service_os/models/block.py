"""virtio-blk (virtio 1.2, section 5.2) without the disk.

Requests run to their end in the order they come, so writes that overlap take effect in submission
order. Nothing is kept between two requests; executing one twice is executing it once.

Parsing and executing raise; `_status` alone decides what the guest is told about it.
"""

import struct

from drivers.interface import BlockDriver, MediumError, UnsupportedError
from service_os.models.base import QueueShape, Shape

DEVICE_ID = 2
SECTOR = 512
QUEUE_SIZE = 256
HEADER = struct.Struct("<IIQ")  # type, reserved, sector
CONFIG = struct.Struct("<QIIHBBI")  # capacity, size_max, seg_max, geometry (3), blk_size

F_SEG_MAX = 1 << 2
F_RO = 1 << 5
F_BLK_SIZE = 1 << 6
F_FLUSH = 1 << 9
SEG_MAX = QUEUE_SIZE - 2  # a request has a header and a status descriptor besides its data

T_IN = 0
T_OUT = 1
T_FLUSH = 4
T_GET_ID = 8
ID_BYTES = 20

S_OK = 0
S_IOERR = 1
S_UNSUPP = 2


class BlockModel:
    """One disk."""

    def __init__(self, driver: BlockDriver) -> None:
        features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | (F_RO if driver.readonly else 0)
        config = CONFIG.pack(driver.size // SECTOR, 0, SEG_MAX, 0, 0, 0, SECTOR)
        queues = (QueueShape(QUEUE_SIZE, HEADER.size, ordered=True),)
        self.shape = Shape(DEVICE_ID, features, config, queues, failure=bytes((S_IOERR,)))
        self._driver = driver
        self._read = driver.read
        self._size = driver.size
        self._identity = driver.identity.encode("ascii", "replace")[:ID_BYTES]

    def execute(self, queue: int, header: bytes, readable: memoryview, writable: memoryview) -> int:
        """See Immediate. The last writable byte is the status; without one nothing is done."""
        if not writable or len(header) < HEADER.size:
            return 0
        try:
            kind, _, sector = HEADER.unpack_from(header)
            if kind == T_IN:
                data = writable[:-1]
                self._read(self._place(sector, len(data)), data)
            else:
                self._other(kind, sector, readable, writable)
            writable[-1] = S_OK
        except (MediumError, UnsupportedError, OSError) as error:
            writable[-1] = _status(error)
        return len(writable)

    def _other(self, kind: int, sector: int, readable: memoryview, writable: memoryview) -> None:
        if kind == T_OUT:
            if self._driver.readonly:
                raise MediumError("the disk is read-only")
            self._driver.write(self._place(sector, len(readable)), readable)
        elif kind == T_FLUSH:
            self._driver.flush()
        elif kind == T_GET_ID:
            name = self._identity[: len(writable) - 1]
            writable[: len(name)] = name
        else:
            raise UnsupportedError(f"request type {kind}")

    def _place(self, sector: int, length: int) -> int:
        """The byte offset of a transfer that lies on the disk in whole sectors."""
        offset = sector * SECTOR
        if length % SECTOR or offset + length > self._size:
            raise MediumError(f"{length} bytes at sector {sector} are not on the disk")
        return offset


def sectors(header: bytes, readable: int, writable: int) -> range:
    """Which sectors a request reads or writes, given the sizes of its parts; none for others."""
    if len(header) < HEADER.size:
        return range(0)
    kind, _, first = HEADER.unpack_from(header)
    length = {T_IN: writable - 1, T_OUT: readable}.get(kind, 0)
    return range(first, first + length // SECTOR)


def _status(error: Exception) -> int:
    return S_UNSUPP if isinstance(error, UnsupportedError) else S_IOERR
