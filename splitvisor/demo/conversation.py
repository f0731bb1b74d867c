"""Talking to the guest echo: every line sent to its console must come back.

The service OS's terminal is a pair of pipes here, and the pipes outlive every incarnation of it.
"""

import os
from types import TracebackType
from typing import Self

import trio

from splitvisor.supervisor.child import Stdio

_READY = b"echo: ready\n"
_END = b"\x04"  # makes the guest exit
_CHUNK = 4096


class Conversation:
    """A context manager that owns the pipes; of `sent` lines `returned` came back unchanged."""

    def __init__(self) -> None:
        guest_in, self._to_guest = os.pipe2(os.O_CLOEXEC)
        self._from_guest, guest_out = os.pipe2(os.O_CLOEXEC)
        self.stdio = Stdio(guest_in, guest_out)
        self.sent = 0
        self.returned = 0
        self.quiet = trio.Lock()  # held while nothing must be on its way
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in (self.stdio.stdin, self.stdio.stdout, self._to_guest, self._from_guest):
            os.close(fd)

    async def begin(self) -> None:
        """Wait until the guest listens."""
        os.set_blocking(self._from_guest, False)
        await self._hear(_READY)

    async def say(self, text: str) -> None:
        """Send a line and wait until it has come back."""
        line = f"{text}\n".encode()
        async with self.quiet:
            self.sent += 1
            os.write(self._to_guest, line)  # a line fits into the pipe: the one before is read
            await self._hear(line)
            self.returned += 1

    def end(self) -> None:
        """Make the guest exit."""
        os.write(self._to_guest, _END)

    async def _hear(self, expected: bytes) -> None:
        while expected not in self._heard:
            await trio.lowlevel.wait_readable(self._from_guest)
            self._heard += os.read(self._from_guest, _CHUNK)
        self._heard = self._heard.partition(expected)[2]
