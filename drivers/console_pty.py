"""A console on a terminal device of its own, for `picocom`, `screen` or `minicom`.

With `link=path` there is a symbolic link to the device (/dev/pts/N) at that path; without it the
name of the device is told on standard error.

A pseudo-terminal lives as long as some process holds its other side. Whoever serves holds it, and
hands a second hold to each incarnation that opens the device to stand by: so the terminal outlives
a death, and who is attached to it notices nothing. Where no standby was ready, or both died, it is
gone; there is a new one, the link leads there, and clients have to attach again.

What the guest puts out while nobody has the terminal open is dropped. Whoever has it open and does
not read holds the guest up when some 64 KiB wait, as at any terminal.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import Claim, DriverError, Keep
from drivers.listening import Listener, reachable
from drivers.rawio import medium_error

TIOCGPTN = (
    0x80045430  # include/uapi/asm-generic/ioctls.h: the number of a terminal, from its master
)
CHUNK = 1024  # bytes of input at once
LOOK_MS = 200  # between two looks whether somebody has come
HANDING = 1.0  # seconds that the one who serves may take to hand over


class PtyConsole:
    """The driver `console.pty`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Where the link is to be, if anywhere."""

        keep: Keep
        link: Path | None = None

    positional = False
    origin = 0
    patience = None  # whoever sits there may hold the output

    @staticmethod
    def claims(options: Options) -> tuple[Claim, ...]:
        """See Claiming."""
        return (Claim(options.link, exclusive=True),) if options.link else ()

    def __init__(self, options: Options) -> None:
        self._device = options.keep.path.name.removeprefix("keep.").replace(":", "/")
        # Not the place itself: another driver of the console may have left a file there.
        self._place = options.keep.path.with_name(f"{options.keep.path.name}:pty")
        self._link = options.link
        self._master = -1
        self._name = ""
        self._linked = False
        self._listener: Listener | None = None
        self._reader: threading.Thread | None = None
        if self._link:
            _refuse_files(self._link)
        self._master = _handed_over(self._place)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)

    def begin(self) -> None:
        """See Beginning: without a terminal that was handed over there is a new one."""
        fresh = self._master < 0
        if fresh:
            self._master = _made()
        os.set_blocking(self._master, False)
        self._name = (
            f"/dev/pts/{struct.unpack('I', fcntl.ioctl(self._master, TIOCGPTN, bytes(4)))[0]}"
        )
        self._listener = Listener(self._place, socket.SOCK_SEQPACKET, self._hand_over)
        if self._link:
            _renew(self._link, self._name)
            self._linked = True
        elif fresh:
            print(f"console {self._device} is at {self._name}", file=sys.stderr, flush=True)

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        rest = memoryview(data)
        poll = select.poll()
        poll.register(self._master, select.POLLOUT)
        while rest:
            ((_, ready),) = poll.poll()
            if ready & select.POLLHUP:
                return  # nobody is there
            try:
                rest = rest[os.write(self._master, rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise medium_error(error) from error

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """See ConsoleDriver."""
        self._reader = threading.Thread(target=self._read, args=(deliver,), daemon=True)
        self._reader.start()

    def close(self) -> None:
        """See Driver."""
        if self._listener:
            self._listener.close()
        os.eventfd_write(self._end, 1)
        if self._reader:
            self._reader.join()
        os.close(self._end)
        if self._link and self._linked:
            with contextlib.suppress(OSError):
                if os.readlink(self._link) == self._name:
                    self._link.unlink()
        if self._master >= 0:
            os.close(self._master)

    def _hand_over(self, heir: socket.socket) -> None:
        with heir:
            socket.send_fds(heir, [b"m"], [self._master])

    def _read(self, deliver: Callable[[bytes], None]) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(self._master, select.POLLIN)
        nobody = select.poll()
        nobody.register(self._end, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._end in ready:
                return
            data = b""
            if ready[self._master] & select.POLLIN:
                with contextlib.suppress(OSError):
                    data = os.read(self._master, CHUNK)
            if data:
                deliver(data)
            else:
                nobody.poll(LOOK_MS)


def _made() -> int:
    """The master of a new terminal that passes bytes as they are."""
    try:
        master, terminal = os.openpty()
    except OSError as error:
        raise DriverError(
            f"no pseudo-terminal can be had: {error.strerror}; is /dev/pts mounted?"
        ) from None
    tty.setraw(terminal)
    os.close(terminal)  # which leaves it in the state "nobody is there"
    return master


def _handed_over(place: Path) -> int:
    """The master of the terminal that is being served now, or -1."""
    kind = socket.SOCK_SEQPACKET
    with (
        contextlib.suppress(OSError),
        reachable(place) as address,
        socket.socket(socket.AF_UNIX, kind) as peer,
    ):
        peer.settimeout(HANDING)
        peer.connect(address)
        _, fds, _, _ = socket.recv_fds(peer, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if fds:
            return fds[0]
    return -1


def _refuse_files(link: Path) -> None:
    if not link.parent.is_dir():
        raise DriverError(f"link {link}: its directory does not exist: make it")
    if os.path.lexists(link) and not link.is_symlink():
        raise DriverError(f"link {link} exists and is no link: remove it or name another")


def _renew(link: Path, target: str) -> None:
    """Have the link lead to `target`; it is never missing meanwhile."""
    try:
        _refuse_files(link)
        fresh = link.with_name(f"{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)
    except OSError as error:
        raise DriverError(f"link {link} cannot be made: {error.strerror}") from None
