"""A disk of the host: what the page cache holds, and what would survive a power cut.

All incarnations share it, as they share a file: a write is in the cache when it returns, whoever
dies then. It is on the medium after the next flush; at a power cut any of the writes since then,
in any order, may be there too.
"""

from collections.abc import Callable

from tests.simulation.violation import check

SECTOR = 512


class Torn(BaseException):
    """The process was killed in the middle of a write. No code of the service OS catches it."""


class Poisoned(BaseException):
    """A request that kills whoever executes it."""


class Disk:
    """`sectors` sectors of zeros."""

    def __init__(self, sectors: int) -> None:
        self.cache = bytearray(sectors * SECTOR)
        self.medium = bytearray(sectors * SECTOR)
        self.unflushed: list[tuple[int, bytes]] = []  # offset, data; in the order written
        self.poison: set[bytes] = set()  # first sectors of writes that nobody survives

    def write(self, offset: int, data: memoryview) -> None:
        """Into the cache."""
        self.cache[offset : offset + len(data)] = data
        self.unflushed.append((offset, bytes(data)))

    def flush(self) -> None:
        """All that was written is on the medium."""
        for offset, data in self.unflushed:
            self.medium[offset : offset + len(data)] = data
        self.unflushed.clear()

    def cut_power(self, pick: Callable[[int], int]) -> bytes:
        """What is left: `pick(n)` chooses below n which unflushed sectors got there, and when."""
        pieces = [
            (offset + at, data[at : at + SECTOR])
            for offset, data in self.unflushed
            for at in range(0, len(data), SECTOR)
        ]
        while pieces:
            offset, data = pieces.pop(pick(len(pieces)))
            if pick(2):
                self.medium[offset : offset + len(data)] = data
        return bytes(self.medium)


class Begun:
    """A driver that is not used before it serves."""

    begun = False

    def begin(self) -> None:
        """See Beginning."""
        self.begun = True

    def check_begun(self) -> None:
        """Violation before `begin`."""
        check(self.begun, f"{type(self).__name__} is used by an incarnation that stands by")

    def close(self) -> None:
        """See Driver."""


class SimulatedBlock(Begun):
    """A block driver (drivers/interface.py) of one incarnation on the shared disk."""

    readonly = False
    identity = "simulated"

    def __init__(self, disk: Disk) -> None:
        self.size = len(disk.cache)
        self.torn = False  # the process is being killed: only the first sector of a write lands
        self._disk = disk

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self.check_begun()
        into[:] = self._disk.cache[offset : offset + len(into)]

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self.check_begun()
        if self._disk.poison and bytes(data[:SECTOR]) in self._disk.poison:
            raise Poisoned
        if self.torn:
            self._disk.write(offset, data[:SECTOR])
            raise Torn
        self._disk.write(offset, data)

    def flush(self) -> None:
        """See BlockDriver."""
        self.check_begun()
        self._disk.flush()


class SimulatedEntropy(Begun):
    """An entropy driver whose words are numbers: unlike, and never zero."""

    def __init__(self, source: list[int]) -> None:
        self._source = source  # shared by all incarnations: the last number given out

    def fill(self, into: memoryview) -> None:
        """See EntropyDriver; in whole words of 8 bytes."""
        self.check_begun()
        for at in range(0, len(into), 8):
            self._source[0] += 1
            into[at : at + 8] = self._source[0].to_bytes(8, "little")


class SimulatedConsole(Begun):
    """A positional console driver: a log file in memory."""

    positional = True
    origin = 0

    def __init__(self, log: bytearray) -> None:
        self._log = log

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        self.check_begun()
        self._log[position : position + len(data)] = data

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """See ConsoleDriver; input comes from the world, step by step."""
