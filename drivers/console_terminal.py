"""The terminal (or whatever stands in its place) at standard input and output.

There is one terminal and there may be several consoles, so all consoles of this process share one
object: output of all of them, one write after the other; input to the console of the highest rank
that has asked for it. Nothing here changes the terminal's modes: the launcher, whose terminal it
is, does that and undoes it.

A reader that has gone away (a closed pipe) is no reason to stop a guest: output is then dropped
without a word. Any other failure to write is a MediumError.
"""

import contextlib
import errno
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from drivers.rawio import medium_error

STDIN = 0
STDOUT = 1
CHUNK = 1024  # bytes of input at once


class _Terminal:
    """What the consoles of this process share. Consoles come and go on any thread."""

    def __init__(self) -> None:
        self._output = threading.Lock()
        self._changed = threading.Condition()
        self._takers: list[tuple[int, object, Callable[[bytes], None]]] = []
        self._reading = False
        self._served: object = None  # for whom something is being read or delivered

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with self._output:
            while rest:
                try:
                    rest = rest[os.write(STDOUT, rest) :]
                except BlockingIOError:
                    select.select((), (STDOUT,), ())
                except OSError as error:
                    if error.errno == errno.EPIPE:
                        return
                    raise medium_error(error) from error

    def start(self, owner: object, rank: int, deliver: Callable[[bytes], None]) -> None:
        with self._changed:
            self._takers.append((rank, owner, deliver))
            self._takers.sort(key=lambda taker: -taker[0])
            self._changed.notify_all()
            if not self._reading:
                self._reading = True
                threading.Thread(target=self._read, daemon=True).start()

    def stop(self, owner: object) -> None:
        with self._changed:
            self._takers = [taker for taker in self._takers if taker[1] is not owner]
            self._changed.wait_for(lambda: self._served is not owner)

    def _taker(self) -> Callable[[bytes], None]:
        """Who gets the next input. Until there is somebody and something, it stays where it is."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._takers)
            _wait_for_input()
            with self._changed:
                if self._takers:
                    _, self._served, deliver = self._takers[0]
                    return deliver

    def _read(self) -> None:
        more = True
        while more:
            deliver = self._taker()
            data = _next_input()
            more = bool(data)
            if more:
                deliver(data)
            with self._changed:
                self._served = None
                self._changed.notify_all()
        told: list[object] = []  # the end is for everybody, whenever they ask
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(t[1] not in told for t in self._takers))
                _, owner, deliver = next(t for t in self._takers if t[1] not in told)
            told.append(owner)
            deliver(b"")


def _wait_for_input() -> None:
    """Until reading would not block; at once if it can only fail."""
    with contextlib.suppress(OSError):
        select.select((STDIN,), (), ())


def _next_input() -> bytes:
    """The next bytes, none at the end."""
    while True:
        try:
            return os.read(STDIN, CHUNK)
        except BlockingIOError:
            select.select((STDIN,), (), ())
        except OSError:
            return b""  # closed, or hung up


class TerminalConsole:
    """The driver `console.terminal`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """None."""

    _terminal: ClassVar[_Terminal] = _Terminal()
    positional = False
    origin = 0
    patience = None  # whoever sits there may hold the output with Ctrl-S, a pipe's reader may rest

    def __init__(self, options: Options) -> None:
        pass

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        self._terminal.write(data)

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """See ConsoleDriver."""
        self._terminal.start(self, rank, deliver)

    def close(self) -> None:
        """See Driver."""
        self._terminal.stop(self)
