"""Drivers that are wrong, each in one way, made of right ones: judges must notice every one."""

import os
import struct
import zlib
from dataclasses import make_dataclass

from drivers.block_file import FileBlock
from drivers.console_log import LogConsole
from drivers.interface import MediumError

EVERY = 400


class Counting(FileBlock):
    """Does one of EVERY requests of a kind wrong, of those that are a block long."""

    def __init__(self, options):
        super().__init__(options)
        self.count = 0

    def due(self, data):
        self.count += len(data) == 4096
        return len(data) == 4096 and self.count % EVERY == 0


class Lost(Counting):
    def write(self, offset, data):
        if not self.due(data):
            super().write(offset, data)


class Torn(Counting):
    def write(self, offset, data):
        super().write(offset, data[:512] if self.due(data) else data)


class Misplaced(Counting):
    def write(self, offset, data):
        super().write(offset ^ 4096 if self.due(data) else offset, data)


class Failing(Counting):
    def write(self, offset, data):
        if self.due(data):
            raise MediumError("as asked for")
        super().write(offset, data)


class Empty(Counting):
    def read(self, offset, into):
        if not self.due(into):
            super().read(offset, into)


class Stale(Counting):
    """Remembers what a write has overwritten, and gives it out once more."""

    def __init__(self, options):
        super().__init__(options)
        self.old = {}

    def write(self, offset, data):
        before = bytearray(4096)
        super().read(offset, before)
        self.old[offset] = before
        super().write(offset, data)

    def read(self, offset, into):
        super().read(offset, into)
        if self.due(into) and offset in self.old:
            into[:] = self.old[offset]


class Cached(FileBlock):
    """Keeps writes to itself, as no driver may, until there are many or somebody flushes."""

    def __init__(self, options):
        super().__init__(options)
        self.cache = {}

    def write(self, offset, data):
        for at in range(0, len(data), 4096):
            self.cache[offset + at] = bytes(data[at : at + 4096])
        if len(self.cache) > 2000:
            self.flush()

    def read(self, offset, into):
        super().read(offset, into)
        for at in range(0, len(into), 4096):
            into[at : at + 4096] = self.cache.get(offset + at, into[at : at + 4096])

    def flush(self):
        for offset, data in self.cache.items():
            FileBlock.write(self, offset, memoryview(data))
        self.cache.clear()


class LogStructured(Cached):
    """Keeps what was not flushed in a log; splitvisor.checks.powercut describes it."""

    def __init__(self, options):
        super().__init__(options)
        self.number = 0
        path = f"{options.path}.log"
        self.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, offset, data):
        parts = b"SVPCLOG1", self.number, offset, len(data), zlib.crc32(data), 0
        os.write(self.log, struct.pack("<8sQQIIQ", *parts) + data)
        self.number += 1
        for at in range(0, len(data), 4096):
            self.cache[offset + at] = bytes(data[at : at + 4096])

    def flush(self):
        super().flush()
        os.fdatasync(self._fd)
        os.ftruncate(self.log, 0)
        self.number = 0

    def close(self):
        """The power fails."""


class Early(LogStructured):
    """Says that it has flushed, and does it only eight times."""

    count = 0

    def flush(self):
        self.count += 1
        if self.count <= 8:
            super().flush()


class Doubling(LogConsole):
    """Puts each tenth piece out twice."""

    doubled = count = 0

    def write(self, data, position):
        super().write(data, position + self.doubled)
        self.count += 1
        if self.count % 10 == 0:
            self.doubled += len(data)
            super().write(data, position + self.doubled)


class Repeating:
    Options = make_dataclass("Options", [])

    def __init__(self, options):
        self.count = 0

    def fill(self, into):
        self.count += 1
        into[:] = os.urandom(len(into))
        into[:8] = (self.count % 5 + 1).to_bytes(8, "little")

    def close(self):
        pass
