"""A disk that an NBD server has: qemu-nbd (any image format of QEMU's), nbdkit, or one far away.

A server may go away and come back: requests wait for it, are sent again, and fail only after
`timeout`; from then on, until it is back, they fail soon. A request that was under way may so be
executed twice, which is executing it once.

A server that dies may lose what it had answered: qemu-nbd keeps in memory what it knows of new
clusters of a qcow2 image until a flush. So writes are kept here, too, until a flush (the guest's,
or one of our own before they are too many), and are sent once more to a server that comes back.
They die with this process: who takes over has the first write followed by a flush. What a server
*and* the service OS lose between two flushes, both dying, is lost; with `fua` each write is durable
before it counts, at the price of a flush each. A server that keeps the bytes themselves in its
memory (nbdkit memory) comes back empty, and nobody can tell.

Who died, or lost its connection, may have left one request to a server that lives. It is sent again
by whoever comes after, but NBD has no means to be sure that the first one is not executed still
later: a server that holds a request back for longer than it takes to connect and to serve what
comes next (a hung network file system) may undo a newer write to the same place.

It needs a server that speaks fixed newstyle with NBD_OPT_GO, and that lets in several clients at a
time (`qemu-nbd --persistent --shared=0`), because a standby looks at the disk while another
incarnation serves it. One that offers no flush is taken at its word that none is needed.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import Ability, Claim, DriverError, MediumError, UnsupportedError
from drivers.nbd_connection import NOTHING, Address, Connection, LostError
from drivers.nbd_protocol import (
    MAX_EXTENT,
    MAX_NAME,
    REQUEST,
    Command,
    CommandFlag,
    Errno,
    Export,
    Transmission,
    error_text,
)
from drivers.options import Seconds
from drivers.zeros import write_zeros

# Seconds for a connection while nobody waits for a request. A standby's and then another one, when
# it begins, are to be over before the supervisor gives up all devices of the service OS.
OPENING = 2.0
RETRY = 1.0  # seconds for a connection to a server that has been away for too long already
PAUSES = 0.01, 0.5  # seconds between two attempts: the first, the longest
TELL_AGAIN = 10.0  # seconds
MAX_UNFLUSHED = 8 << 20  # bytes of writes that are kept
MAX_SOCKET = 107  # bytes of a Unix socket's path


class NbdBlock:
    """The driver `block.nbd`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Which server, by socket or by host and port, and which of its exports."""

        socket: Path = Path()
        host: str = ""
        port: int = 10809
        export: str = ""
        readonly: bool = False
        fua: bool = False
        timeout: Seconds = Seconds(30.0)  # that a request waits for the server to come back

        def __post_init__(self) -> None:
            if (self.socket == Path()) == (not self.host):
                raise ValueError("give either socket=/run/x.sock or host=127.0.0.1")
            if len(bytes(self.socket)) > MAX_SOCKET:
                raise ValueError(
                    f"socket {self.socket} is longer than {MAX_SOCKET} bytes: move it up"
                )
            if not 0 < self.port < 1 << 16:
                raise ValueError(f"port {self.port} is not from 1 to 65535")
            if len(self.export.encode()) > MAX_NAME:
                raise ValueError(f"export has more than {MAX_NAME} bytes")
            if self.timeout <= 0:
                raise ValueError("timeout must be more than 0s, for example 30s")

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming: two names of one socket are one server."""
        socket = os.path.realpath(options.socket)
        where = f"{options.host}:{options.port}" if options.host else f"unix:{socket}"
        name = _named(where, options.export)
        return (Claim(Path(), exclusive=not options.readonly, remote=name),)

    @staticmethod
    def content(options: Options) -> str:
        """See Identified."""
        return f"nbd {_address(options)} {options.export}"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._address = _address(options)
        self._timeout = float(options.timeout)
        self.patience = self._timeout + OPENING
        name = options.export or "nbd"
        self.identity = name.encode("ascii", "replace").decode()[:20]
        self._connection: Connection | None = None
        self._away = False
        self._told = -TELL_AGAIN
        self._unflushed: list[tuple[Command, CommandFlag, int, int, bytes]] = []
        self._unflushed_bytes = 0
        self._open().leave()

    def begin(self) -> None:
        """See Beginning. The server may be another one by now, or its export have grown."""
        self._connection = self._open()
        self._unflushed_bytes = MAX_UNFLUSHED  # who knows what others left

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        deadline = self._deadline()
        for at, size in _pieces(len(into), self._max_transfer):
            piece = into[at : at + size]
            self._call(Command.READ, offset + at, size, deadline, into=piece)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self._write(offset, data, self._deadline())

    def flush(self) -> None:
        """See BlockDriver."""
        if Transmission.SEND_FLUSH in self._flags:
            self._flush(self._deadline())

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        deadline = self._deadline()
        for at, size in _pieces(length, MAX_EXTENT):
            if Transmission.SEND_TRIM in self._flags:
                self._change(Command.TRIM, offset + at, size, deadline, CommandFlag.NONE)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        deadline = self._deadline()
        if Transmission.SEND_WRITE_ZEROES not in self._flags:  # it was there before a restart
            write_zeros(lambda at, data: self._write(at, data, deadline), offset, length)
            return
        flags = CommandFlag.NONE if unmap else CommandFlag.NO_HOLE
        for at, size in _pieces(length, MAX_EXTENT):
            self._change(Command.WRITE_ZEROES, offset + at, size, deadline, flags)

    def close(self) -> None:
        """See Driver."""
        if self._connection:
            self._connection.leave()

    def _write(self, offset: int, data: memoryview, deadline: float) -> None:
        for at, size in _pieces(len(data), self._max_transfer):
            piece = data[at : at + size]
            self._change(Command.WRITE, offset + at, size, deadline, CommandFlag.NONE, piece)

    def _change(
        self,
        command: Command,
        offset: int,
        length: int,
        deadline: float,
        flags: CommandFlag,
        data: memoryview = NOTHING,
    ) -> None:
        """A command that changes something, durably if that is wanted."""
        if self._options.fua and Transmission.SEND_FUA in self._flags:
            self._call(command, offset, length, deadline, flags | CommandFlag.FUA, data)
            return
        if self._unflushed_bytes > MAX_UNFLUSHED:  # the last flush failed: nothing before one works
            self._flush(deadline)
        self._call(command, offset, length, deadline, flags, data)
        if Transmission.SEND_FLUSH in self._flags:
            self._unflushed.append((command, flags, offset, length, bytes(data)))
            self._unflushed_bytes += REQUEST.size + len(data)
            if self._options.fua or self._unflushed_bytes > MAX_UNFLUSHED:
                self._flush(deadline)

    def _flush(self, deadline: float) -> None:
        self._call(Command.FLUSH, 0, 0, deadline)
        self._unflushed.clear()
        self._unflushed_bytes = 0

    def _call(
        self,
        command: Command,
        offset: int,
        length: int,
        deadline: float,
        flags: CommandFlag = CommandFlag.NONE,
        data: memoryview = NOTHING,
        into: memoryview = NOTHING,
    ) -> None:
        """Ask until there is an answer, of whichever connection, or it is too late."""
        pause, longest = PAUSES
        while True:
            try:
                connection = self._connection or self._reconnect(deadline)
                error = connection.call(command, flags, offset, length, deadline, data, into)
                if error != Errno.SHUTDOWN:
                    break
                why = "it is shutting down"
            except LostError as lost:
                why = str(lost)
            self._drop(why)
            if self._away or time.monotonic() + pause >= deadline:
                self._away = True
                raise MediumError(f"{self._name()}: {why}")
            time.sleep(pause)
            pause = min(2 * pause, longest)
        self._away = False
        if error == Errno.NOT_SUPPORTED:
            raise UnsupportedError(f"{self._name()}: {error_text(error)}")
        if error:
            raise MediumError(f"{self._name()}: {error_text(error)}")

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _open(self) -> Connection:
        try:
            connection = self._connect(time.monotonic() + OPENING)
        except LostError as lost:
            raise DriverError(f"{self._name()}: {lost}") from None
        self._learn(connection.export)
        self.size = connection.export.size
        self.readonly = self._options.readonly or Transmission.READ_ONLY in self._flags
        return connection

    def _reconnect(self, deadline: float) -> Connection:
        soon = time.monotonic() + RETRY
        connection = self._connect(min(soon, deadline) if self._away else deadline)
        if connection.export.size < self.size:
            connection.leave()
            raise MediumError(
                f"{self._name()}: it came back with {connection.export.size} bytes "
                f"instead of {self.size}: serve the same disk again"
            )
        try:
            for command, flags, offset, length, data in self._unflushed:
                view = memoryview(data)
                if error := connection.call(command, flags, offset, length, deadline, view):
                    raise LostError(f"it does not take again what was written: {error_text(error)}")
        except LostError:
            connection.close()
            raise
        self._learn(connection.export)
        self._connection = connection
        return connection

    def _connect(self, deadline: float) -> Connection:
        return Connection(self._address, self._options.export, deadline)

    def _learn(self, export: Export) -> None:
        self._flags = export.flags
        self._max_transfer = export.max_transfer
        self.block_size = export.block_size
        self.abilities = Ability.NONE
        if Transmission.SEND_TRIM in export.flags:
            self.abilities |= Ability.DISCARD
        if Transmission.SEND_WRITE_ZEROES in export.flags:
            self.abilities |= Ability.WRITE_ZEROES

    def _drop(self, why: str) -> None:
        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        if time.monotonic() - self._told >= TELL_AGAIN:
            self._told = time.monotonic()
            wait = f"requests wait for it for up to {self._timeout:g} s"
            print(f"service OS: {self._name()}: {why}; {wait}", file=sys.stderr, flush=True)

    def _name(self) -> str:
        return _named(self._address, self._options.export)


def _named(where: object, export: str) -> str:
    return f"NBD server {where} export {export!r}" if export else f"NBD server {where}"


def _address(options: NbdBlock.Options) -> Address:
    if options.host:
        return Address(None, options.host, options.port)
    return Address(options.socket)


def _pieces(length: int, limit: int) -> list[tuple[int, int]]:
    """Where each piece of at most `limit` bytes begins, and its size."""
    return [(at, min(limit, length - at)) for at in range(0, length, limit)]
