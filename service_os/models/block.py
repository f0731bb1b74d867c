"""virtio-blk (virtio 1.2, section 5.2) without the disk.

What a guest finds is in block_shape.py. Requests run to their end in the order they come, so writes
that overlap take effect in submission order. Nothing is kept between two requests; executing one
twice is executing it once.

Parsing and executing raise; `_status` alone decides what the guest is told about it.
"""

from typing import Any

from drivers.filter import abilities_of
from drivers.interface import Ability, BlockDriver, DriverError, MediumError, UnsupportedError
from drivers.zeros import write_zeros
from service_os.models import block_shape
from service_os.models.base import Shape
from service_os.models.block_shape import (
    F_UNMAP,
    HEADER,
    ID_BYTES,
    S_IOERR,
    S_OK,
    S_UNSUPP,
    SECTOR,
    SEGMENT,
    T_DISCARD,
    T_FLUSH,
    T_GET_ID,
    T_IN,
    T_OUT,
    T_WRITE_ZEROES,
)


class BlockModel:
    """One disk. `seen` is what its guest has found in a disk that was served by another driver; it
    goes on finding that, and DriverError says why it cannot.
    """

    def __init__(self, driver: BlockDriver, seen: Shape | None = None) -> None:
        if problem := block_shape.problem_of(driver):
            raise DriverError(problem)
        self.shape = block_shape.offered(driver)
        if seen is not None:
            if problem := block_shape.refusal(seen, self.shape):
                raise DriverError(problem)
            self.shape = block_shape.as_seen(self.shape, seen)
        self._limits = block_shape.limits(self.shape)
        self._able = abilities_of(driver)
        self._driver: Any = driver
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
        elif kind in (T_DISCARD, T_WRITE_ZEROES):
            self._segments(kind, readable)
        else:
            raise UnsupportedError(f"request type {kind}")

    def _segments(self, kind: int, payload: memoryview) -> None:
        """All of them, once all are known to be right."""
        if self._driver.readonly:
            raise MediumError("the disk is read-only")
        limit = self._limits.get(kind)
        if limit is None:
            raise UnsupportedError(f"request type {kind}")
        count, rest = divmod(len(payload), SEGMENT.size)
        if rest or not 0 < count <= limit.segments:
            raise MediumError(f"{len(payload)} bytes are not 1 to {limit.segments} segments")
        places = []
        for sector, number, flags in SEGMENT.iter_unpack(payload):
            if flags & ~F_UNMAP or (flags and kind == T_DISCARD):
                raise UnsupportedError(f"flags {flags:#x} of request type {kind}")
            if number > limit.sectors:
                raise MediumError(f"{number} sectors are more than {limit.sectors}")
            places.append((self._place(sector, number * SECTOR), number * SECTOR, flags != 0))
        for offset, length, unmap in places:
            if not length:
                continue
            if kind == T_DISCARD:
                self._discard(offset, length)
            else:
                self._write_zeroes(offset, length, unmap)

    def _discard(self, offset: int, length: int) -> None:
        if Ability.DISCARD in self._able:
            self._driver.discard(offset, length)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        if Ability.WRITE_ZEROES in self._able:
            self._driver.write_zeroes(offset, length, unmap)
        else:
            write_zeros(self._driver.write, offset, length)

    def _place(self, sector: int, length: int) -> int:
        """The byte offset of a transfer that lies on the disk in whole sectors."""
        offset = sector * SECTOR
        if length % SECTOR or offset + length > self._size:
            raise MediumError(f"{length} bytes at sector {sector} are not on the disk")
        return offset


def sectors(header: bytes, readable: memoryview, writable: int) -> list[range]:
    """Which sectors a request with `writable` bytes of room is about; none if it is about none."""
    if len(header) < HEADER.size:
        return []
    kind, _, first = HEADER.unpack_from(header)
    if kind in (T_DISCARD, T_WRITE_ZEROES):
        whole = readable[: len(readable) - len(readable) % SEGMENT.size]
        return [range(at, at + count) for at, count, _ in SEGMENT.iter_unpack(whole)]
    length = {T_IN: writable - 1, T_OUT: len(readable)}.get(kind, 0)
    return [range(first, first + length // SECTOR)]


def _status(error: Exception) -> int:
    return S_UNSUPP if isinstance(error, UnsupportedError) else S_IOERR
