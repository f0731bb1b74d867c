"""A guest's disk workload: overlapping writes, reads, flushes, and requests that must fail."""

import struct
from dataclasses import dataclass

from microhypervisor.virtio.constants import DESC_WRITE
from service_os.models import block as b
from tests.simulation.disk import SECTOR
from tests.simulation.driver import POISON, Driver
from tests.simulation.ledger import Ledger
from tests.simulation.violation import check

LONGEST = 4  # sectors of one request
HEADER_ROOM = 64  # before the data
STATUS_POISON = 0xEE
_HEADER = struct.Struct("<IIQ")
READ, WRITE, FLUSH, BEYOND, ODD, IDENTITY = range(6)
NAMES = ("read", "write", "flush", "read beyond the end", "unknown request", "identity")


@dataclass(slots=True)
class DiskRequest:
    """One request; `completed` and `certain` are the ledger's when it was submitted, of its sectors
    or, for a flush, of all.
    """

    kind: int
    sector: int
    count: int
    number: int = 0
    data: bytes = b""
    certain: list[int] | None = None
    completed: list[int] | None = None

    def __str__(self) -> str:
        name = f"{NAMES[self.kind]} of {self.count} at {self.sector}"
        return f"{name}, write {self.number}" if self.number else name


class BlockGuest:
    """The workload and its judge, on a disk of `sectors` sectors."""

    queues = (0,)

    def __init__(self, driver: Driver, sectors: int) -> None:
        self.driver = driver
        self.sectors = sectors
        self.ledger = Ledger(sectors)
        self.may_fail = False  # the device's requests may fail, by an outage policy or quarantine
        self.failed = 0
        self.completed = 0

    @staticmethod
    def area_size() -> int:
        """Bytes of guest memory for one request."""
        return HEADER_ROOM + LONGEST * SECTOR + HEADER_ROOM

    def submit(self, queue: int, pick) -> str | None:
        """Submit something if a head is free."""
        driver = self.driver
        if not driver.free[queue]:
            return None
        head = driver.free[queue][pick(len(driver.free[queue]))]
        roll = pick(32)
        kind = WRITE if roll < 14 else READ if roll < 26 else FLUSH if roll < 29 else roll - 26
        return f"{self._submit(kind, head, pick)} (head {head})"

    def submit_write(self, pick) -> DiskRequest | None:
        """A write, if a head is free."""
        free = self.driver.free[0]
        return self._submit(WRITE, free[pick(len(free))], pick) if free else None

    def _submit(self, kind: int, head: int, pick) -> DiskRequest:
        count = 1 + pick(LONGEST)
        request = DiskRequest(kind, pick(self.sectors - count + 1), count)
        buffers = self._buffers(request, self.driver.areas[0][head], pick)
        self.driver.submit(0, head, request, buffers)
        return request

    def _buffers(self, request: DiskRequest, area, pick) -> list[tuple[int, int, int]]:
        area.poison()
        at, view, ledger = area.start, area.view, self.ledger
        length = request.count * SECTOR
        kind, sector = b.T_IN, request.sector
        if request.kind == WRITE:
            kind = b.T_OUT
            request.number, request.data = ledger.submit(sector, request.count)
            view[HEADER_ROOM : HEADER_ROOM + length] = request.data
        elif request.kind == READ:
            request.certain = ledger.certain[sector : sector + request.count]
            request.completed = ledger.completed[sector : sector + request.count]
        elif request.kind == FLUSH:
            kind, sector, length = b.T_FLUSH, 0, 0
            request.completed = ledger.completed.copy()
        elif request.kind == BEYOND:
            sector = self.sectors
        elif request.kind == ODD:
            kind = 77
        else:
            kind, length = b.T_GET_ID, b.ID_BYTES
        _HEADER.pack_into(view, 0, kind, 0, sector)
        flags = 0 if kind == b.T_OUT else DESC_WRITE
        data, status = at + HEADER_ROOM, at + HEADER_ROOM + length
        view[HEADER_ROOM + length] = STATUS_POISON
        buffers = [(0, at, b.HEADER.size)]
        if length:
            cut = pick(3) * 128
            if 0 < cut < length:
                buffers += [(flags, data, cut), (flags, data + cut, length - cut)]
            else:
                buffers.append((flags, data, length))
        buffers.append((DESC_WRITE, status, 1))
        return buffers

    def complete(self, queue: int, head: int, written: int, request: DiskRequest) -> None:
        """Judge what came back."""
        area = self.driver.areas[queue][head]
        what = f"{request} (head {head})"
        length = {FLUSH: 0, IDENTITY: b.ID_BYTES}.get(request.kind, request.count * SECTOR)
        area.check(HEADER_ROOM + length + 1, what)
        data = area.view[HEADER_ROOM : HEADER_ROOM + length]
        status = area.view[HEADER_ROOM + length]
        expected = {BEYOND: b.S_IOERR, ODD: b.S_UNSUPP}.get(request.kind, b.S_OK)
        writable = 1 if request.kind == WRITE else length + 1
        check(written == writable, f"{what}: {written} bytes were written, not {writable}")
        if status == b.S_IOERR != expected and self.may_fail:
            self.failed += 1
            if request.kind == WRITE:
                self._gave_up(request)
            else:
                check(not any(data), f"{what}: failed, but has data of somebody")
        else:
            check(status == expected, f"{what}: status {status:#x}, not {expected}")
            self._judge(request, data, what)
        self.completed += 1
        area.poison()

    def dropped(self) -> None:
        """The guest reset the device: what is out may take effect or not."""
        for request in self.driver.out[0].values():
            if request.kind == WRITE:
                self._gave_up(request)

    def _gave_up(self, write: DiskRequest) -> None:
        self.ledger.gave_up(write.sector, write.count, write.number)
        for read in self.driver.out[0].values():
            if read.kind == READ:
                for n, number in enumerate(read.certain):
                    if number == write.number:
                        read.certain[n] = read.completed[n]

    def _judge(self, request: DiskRequest, data: memoryview, what: str) -> None:
        ledger, kind = self.ledger, request.kind
        if kind == READ:
            assert request.certain is not None
            ledger.read(request.sector, data, request.certain, what)
        elif kind == WRITE:
            check(data == request.data, f"{what}: its own buffer was changed")
            ledger.wrote(request.sector, request.count, request.number)
        elif kind == FLUSH:
            assert request.completed is not None
            ledger.flushed(request.completed)
        elif kind == IDENTITY:
            check(bytes(data) == b"simulated".ljust(b.ID_BYTES, b"\0"), f"{what}: {bytes(data)!r}")
        else:
            check(not any(data), f"{what}: has data of another request: {bytes(data[:16])!r}")

    def scribble(self, queue: int, head: int) -> None:
        """Overwrite the header of a request that the core has read already."""
        area = self.driver.areas[queue][head]
        area.view[: b.HEADER.size] = bytes([POISON]) * b.HEADER.size
        self.driver.scribble(queue, head)
