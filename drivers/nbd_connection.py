"""One connection to an NBD server: made, asked one request at a time, given up.

Every call has a deadline (of time.monotonic) that holds however slowly bytes come. Whatever goes
wrong here is `LostError`; the connection is of no use after it, because nobody knows which bytes
would come next.
"""

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.nbd_protocol import (
    REPLY,
    Command,
    CommandFlag,
    Export,
    ProtocolError,
    RefusedError,
    handshake,
    reply,
    request,
)

NOTHING = memoryview(b"")


class LostError(Exception):
    """The connection is no more, or never was: one line, to follow upon the server's name."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: a Unix socket, or a host and its port."""

    socket: Path | None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.socket.absolute()}" if self.socket else f"{self.host}:{self.port}"


class Connection:
    """To an export; its constructor connects, or raises LostError."""

    def __init__(self, address: Address, export: str, deadline: float) -> None:
        self._answer = memoryview(bytearray(REPLY.size))
        self._cookie = 0
        try:
            self._socket = _connect(address, deadline)
        except OSError as error:
            raise LostError(_why_not(address, error)) from None
        try:
            self.export = self._negotiate(export, deadline)
        except BaseException:
            self._socket.close()
            raise

    def call(
        self,
        command: Command,
        flags: CommandFlag,
        offset: int,
        length: int,
        deadline: float,
        data: memoryview = NOTHING,
        into: memoryview = NOTHING,
    ) -> int:
        """Ask and wait: the server's error, 0 if it went well."""
        self._cookie += 1
        header = request(command, flags, self._cookie, offset, length)
        try:
            self._send(header, data, deadline)
            self._receive(self._answer, deadline)
            if error := reply(self._answer, self._cookie):
                return error
            self._receive(into, deadline)
        except (OSError, ProtocolError) as error:
            raise LostError(_why(error)) from None
        return 0

    def leave(self) -> None:
        """Say goodbye, if the server listens, and close."""
        goodbye = request(Command.DISCONNECT, CommandFlag.NONE, 0)
        with contextlib.suppress(OSError):
            self._socket.settimeout(0)
            self._socket.send(goodbye)
        self._socket.close()

    def close(self) -> None:
        """Give it up."""
        self._socket.close()

    def _negotiate(self, export: str, deadline: float) -> Export:
        talk = handshake(export)
        answer = None
        try:
            while True:
                send, wanted = talk.send(bytes(answer)) if answer is not None else next(talk)
                if send:
                    self._send(send, NOTHING, deadline)
                answer = bytearray(wanted)
                self._receive(memoryview(answer), deadline)
        except StopIteration as end:
            export_: Export = end.value
            return export_
        except TimeoutError:
            raise LostError(
                "it does not answer: is it stuck, or does it let in one client at a time "
                "(qemu-nbd needs --shared=0)?"
            ) from None
        except ConnectionError as error:
            whether = "is it an NBD server, and does it have this export?"
            raise LostError(f"{_why(error)}: {whether}") from None
        except (OSError, ProtocolError, RefusedError) as error:
            raise LostError(_why(error)) from None

    def _send(self, header: bytes, data: memoryview, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        sent = self._socket.sendmsg((header, data))
        if sent < len(header):
            self._socket.sendall(header[sent:])
            sent = len(header)
        if rest := data[sent - len(header) :]:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(rest)

    def _receive(self, into: memoryview, deadline: float) -> None:
        done = 0
        while done < len(into):
            self._socket.settimeout(_left(deadline))
            count = self._socket.recv_into(into[done:])
            if not count:
                raise ConnectionResetError
            done += count


def _connect(address: Address, deadline: float) -> socket.socket:
    if address.socket:
        return _connected(socket.AF_UNIX, os.fspath(address.socket), _left(deadline))
    places = _resolved(address.host, address.port, deadline)
    for left in range(len(places), 0, -1):
        family, _, _, _, where = places[-left]
        try:
            found = _connected(family, where, _left(deadline) / left)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found
        except OSError:
            if left == 1:
                raise
    raise OSError(f"{address.host} has no address")


def _connected(family: int, where: Any, seconds: float) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.settimeout(seconds)
        found.connect(where)
    except BaseException:
        found.close()
        raise
    return found


def _resolved(host: str, port: int, deadline: float) -> list[Any]:
    """As getaddrinfo(3), which has no limit of time of its own."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if not answer:
        raise TimeoutError
    if isinstance(answer[0], OSError):
        raise answer[0]
    found: list[Any] = answer[0]
    return found


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ConnectionError):
        return "it closed the connection"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _why_not(address: Address, error: OSError) -> str:
    where = f"--socket={address.socket}" if address.socket else f"--port={address.port}"
    start = f"start it, for example with 'qemu-nbd --persistent --shared=0 {where} IMAGE'"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"nobody listens there: {start}"
    if isinstance(error, socket.gaierror):
        return f"there is no host of that name ({error.strerror}): correct it, or give its address"
    if isinstance(error, PermissionError):
        return "its socket may not be opened: change its permissions"
    return f"it cannot be reached: {_why(error)}"
