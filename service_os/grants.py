"""Grant windows as they arrive: memfds over a SOCK_SEQPACKET Unix socket, one packet each.

A window is mapped only if it is sealed against shrinking and growing: an access beyond the end of
a file that was cut is a SIGBUS, which nobody survives. It then waits here for the Attach that
names its number. A window that is refused waits as the reason, so that the Attach can say it.
A device may be attached several times, and an Attach that fails early takes none: with the window
of another one, a device would read and write where nobody looks.
"""

import array
import fcntl
import hmac
import mmap
import os
import select
import socket
import threading
from collections.abc import Sequence

from protos.io_pb2 import Grant

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
PACKET_BYTES = 4096  # a Grant is two names, a token and a number
WAITING = 4  # windows of one device; more than there are streams that are about to take one
FDS = 4  # room for more descriptors than the one that is right, so that none leaks


class Refused(Exception):
    """A window that cannot be used: one line that says why."""


class Windows:
    """The windows that wait, by guest and device, and by number. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[tuple[str, str], dict[int, mmap.mmap | Refused]] = {}

    def put(self, guest: str, device: str, number: int, window: mmap.mmap | Refused) -> None:
        """Keep it until it is taken, or too many have come that nobody took."""
        with self._changed:
            waiting = self._waiting.setdefault((guest, device), {})
            waiting[number] = window
            if len(waiting) > WAITING:
                del waiting[min(waiting)]
            self._changed.notify_all()

    def take(self, guest: str, device: str, number: int, size: int, timeout: float) -> mmap.mmap:
        """Wait up to `timeout` seconds for the window of `size` bytes; Refused if there is none."""
        with self._changed:
            waiting = self._waiting.setdefault((guest, device), {})
            if not self._changed.wait_for(lambda: number in waiting, timeout):
                raise Refused(f"no grant window for {guest}/{device} within {timeout:g} s")
            window = waiting.pop(number)
        if isinstance(window, Refused):
            raise window
        if len(window) != size:
            raise Refused(f"the grant window of {guest}/{device} is not {size} bytes long")
        return window


class GrantServer:
    """Takes grants of one incarnation."""

    def __init__(self, windows: Windows, epoch: int, token: str) -> None:
        self._windows = windows
        self._epoch = epoch
        self._token = token.encode()

    def serve(self, listener: socket.socket) -> None:
        """Take what arrives at a listening socket until that is shut down."""
        peers: dict[int, socket.socket] = {}
        try:
            self._serve(listener, peers)
        finally:
            for peer in peers.values():
                peer.close()

    def _serve(self, listener: socket.socket, peers: dict[int, socket.socket]) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd not in peers:
                    try:
                        peer, _ = listener.accept()
                    except OSError:
                        return
                    peers[peer.fileno()] = peer
                    poll.register(peer, select.POLLIN)
                elif not self._receive(peers[fd]):
                    poll.unregister(fd)
                    peers.pop(fd).close()

    def _receive(self, peer: socket.socket) -> bool:
        """Take the packet that waits; False if there will be no more that is to be listened to."""
        space = socket.CMSG_SPACE(FDS * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = peer.recvmsg(PACKET_BYTES, space, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        fds = _descriptors(ancillary)
        try:
            return bool(data) and self._accept(data, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _accept(self, data: bytes, fds: Sequence[int]) -> bool:
        """False if the sender is not to be listened to any more."""
        grant = Grant()
        try:
            grant.ParseFromString(data)
        except Exception:  # protobuf's DecodeError has no public home
            return False
        if not hmac.compare_digest(grant.token.encode(), self._token):
            return False
        try:
            if grant.epoch != self._epoch:
                raise Refused(f"the grant is for epoch {grant.epoch}, this is {self._epoch}")
            window: mmap.mmap | Refused = _map(fds)
        except Refused as refused:
            window = refused
        self._windows.put(grant.guest, grant.device, grant.number, window)
        return True


def _map(fds: Sequence[int]) -> mmap.mmap:
    if len(fds) != 1:
        raise Refused(f"a grant needs one file descriptor, not {len(fds)}")
    try:
        seals = fcntl.fcntl(fds[0], fcntl.F_GET_SEALS)
        if seals & SEALS != SEALS:
            raise Refused("the grant window is not sealed against shrinking and growing")
        return mmap.mmap(fds[0], os.fstat(fds[0]).st_size)
    except (OSError, ValueError) as error:
        raise Refused(f"the grant window cannot be mapped: {error}") from None


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
