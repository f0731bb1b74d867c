"""A console on a Unix socket: clients come and go (`socat - UNIX:path`, `nc -U path`), the guest
does not notice.

All clients are shown the same, and what each types goes to the guest. What the guest puts out while
nobody is there is kept, up to `backlog` bytes of it, and given to the first who comes. A client
that takes nothing for the time `stall` is let go; until then the guest waits for it.

A death of the service OS closes the connections; the next incarnation listens at the same path. It
knows how far its predecessor had come: what had been handed to somebody is not put out twice, but
for what the death came in the middle of. What was typed and not yet fetched goes with a connection
that breaks; of one that is closed in order it is fetched first.
"""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.backlog import Backlog
from drivers.interface import Claim, DriverError, Keep
from drivers.listening import PATH_BYTES, Listener, refuse_others
from drivers.options import Seconds, Size

CLIENTS = 16
CHUNK = 1024  # bytes of input at once
LAST = 64 << 10  # bytes of input that are still fetched when it is closed
MAX_BACKLOG = 1 << 30


class UnixConsole:
    """The driver `console.unix`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Where it listens; the path has at most 107 bytes."""

        path: Path
        keep: Keep
        backlog: Size = Size(64 << 10)
        stall: Seconds = Seconds(5.0)

        def __post_init__(self) -> None:
            if (count := len(os.fsencode(self.path))) > PATH_BYTES:
                raise ValueError(
                    f"a socket's path has at most {PATH_BYTES} bytes, not {count}: "
                    f"use a shorter one than {self.path}"
                )
            if self.backlog > MAX_BACKLOG:
                raise ValueError(f"a backlog of {self.backlog} bytes: 1G is the most")

    positional = True
    patience = None  # clients may rest

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=True),)

    def __init__(self, options: Options) -> None:
        refuse_others(options.path)
        self._options = options
        self.origin = 0
        self._backlog: Backlog | None = None
        self._listener: Listener | None = None
        self._lock = threading.Lock()  # of clients and backlog; held while something is put out
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._delivering = threading.Lock()
        self._deliver: Callable[[bytes], None] | None = None
        self._go = os.eventfd(0, os.EFD_CLOEXEC)  # readable when clients may be read
        self._closing = False
        self._end = os.eventfd(0, os.EFD_CLOEXEC)  # readable when it is being closed
        self._left = LAST

    def begin(self) -> None:
        """See Beginning."""
        try:
            self._backlog = Backlog(self._options.keep.path, self._options.backlog)
        except OSError as error:
            raise DriverError(
                f"the backlog of {self._options.path} cannot be kept at "
                f"{self._options.keep.path}: {error.strerror}; make it smaller"
            ) from None
        self.origin = self._backlog.end  # where a guest that is started anew goes on
        self._listener = Listener(self._options.path, socket.SOCK_STREAM, self._welcome)

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        with self._lock:
            assert self._backlog is not None
            new = self._backlog.store(data, position)
            taken = [client for client in list(self._clients) if self._send(client, new)]
            if taken:
                self._backlog.give()

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """See ConsoleDriver."""
        self._deliver = deliver
        os.eventfd_write(self._go, 1)

    def close(self) -> None:
        """See Driver."""
        if self._listener:
            self._listener.close()
        self._closing = True
        os.eventfd_write(self._end, 1)
        with self._lock:
            readers = dict(self._clients)
        for client in readers:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # what has come is still read
        for thread in readers.values():
            thread.join()
        os.close(self._end)
        os.close(self._go)
        if self._backlog:
            self._backlog.close()

    def _welcome(self, client: socket.socket) -> None:
        with self._lock:
            assert self._backlog is not None
            if len(self._clients) == CLIENTS:
                client.close()
                return
            thread = threading.Thread(target=self._read, args=(client,), daemon=True)
            if not self._clients and (waiting := self._backlog.waiting()):
                self._clients[client] = thread
                if not self._send(client, waiting):
                    client.close()
                    return
                self._backlog.give()
            self._clients[client] = thread
            thread.start()

    def _send(self, client: socket.socket, data: bytes) -> bool:
        """Whether it has taken all; one that has not is no client any more. With the lock."""
        rest = memoryview(data)
        poll = select.poll()
        poll.register(client, select.POLLOUT)
        try:
            while rest:
                try:
                    rest = rest[client.send(rest, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    if not poll.poll(self._options.stall * 1000):
                        raise
        except OSError:
            self._clients.pop(client, None)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # its reader sees the end and closes it
            return False
        return True

    def _read(self, client: socket.socket) -> None:
        self._wait_until_gone(client, self._go)
        deliver = self._deliver
        while deliver is not None:
            try:
                data = client.recv(CHUNK)
            except OSError:
                break
            if not data:
                self._wait_until_gone(client)  # who has no more to say may still listen
                break
            with self._delivering:  # one at a time, as the guest takes it
                if self._closing:
                    self._left -= len(data)
                    if self._left < 0:
                        break
                deliver(data)
        with self._lock:
            self._clients.pop(client, None)
        client.close()

    def _wait_until_gone(self, client: socket.socket, *or_readable: int) -> None:
        """Until it has closed both directions, or this driver is closed."""
        poll = select.poll()
        poll.register(client, 0)
        for fd in (self._end, *or_readable):
            poll.register(fd, select.POLLIN)
        poll.poll()
