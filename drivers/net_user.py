"""The outside without privileges, through `passt`: its sockets are those of an ordinary process.

passt (https://passt.top) speaks Ethernet to us, on one end of a pair of sockets, each frame behind
its length in four bytes; answers ARP, DHCP and the like itself; and has ordinary sockets carry TCP,
UDP and echoes of ICMP. It is started when this incarnation is to serve and dies with it: it belongs
to its process group, and ends by itself when the other end of its socket does. Connections through
it end then as well; guests open new ones.

The guest gets the address of the host's by DHCP. `tcp` and `udp` are ports of the host that lead
to the guest's, as passt's options -t and -u have them (`8080:80`; a comma needs quotes). The
loopback of the host is out of reach, unless `loopback`: then the gateway's address leads there.
"""

import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.ethernet import HEADER, MAX_FRAME, USUAL_MTU, NetOptions
from drivers.interface import DriverError, MediumError
from drivers.reading import Reader

LENGTH = struct.Struct(">I")
CHUNK = 1 << 18  # bytes read at once
END_SECONDS = 5.0
INSTALL = "install passt (Debian: apt-get install passt)"


class UserNet:
    """The driver `net.user`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """What is forwarded to the guest, and whether it reaches the host's loopback."""

        tcp: str = "none"
        udp: str = "none"
        loopback: bool = False

    def __init__(self, options: Options) -> None:
        self.mac = options.address
        self.mtu = options.mtu or USUAL_MTU
        self.link = True
        program = shutil.which("passt")
        if program is None:
            raise DriverError(f"there is no passt: {INSTALL}")
        self._command = [
            *(program, "--foreground", "--quiet", "--stderr", "--mtu", str(self.mtu)),
            *("--tcp-ports", options.tcp, "--udp-ports", options.udp),
            *(() if options.loopback else ("--no-map-gw",)),
        ]
        self._passt: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reader: Reader | None = None
        self._unsent = b""  # the rest of what passt had no room for: frames are sent whole
        self._unread = b""

    def begin(self) -> None:
        """See Beginning: passt is started."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._socket = ours
            try:
                self._passt = subprocess.Popen(
                    [*self._command, "--fd", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                text = f"{self._command[0]} cannot be started: {error.strerror}"
                raise DriverError(f"{text}; {INSTALL}") from None
        ours.setblocking(False)

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver. What passt has no room for is lost."""
        if not self._flush():
            return
        parts: list[bytes | memoryview] = [self._unsent]
        for frame in frames:
            parts += LENGTH.pack(len(frame)), frame
        self._unsent = b"".join(parts)
        self._flush()

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""
        channel = self._socket
        assert channel is not None

        def ready() -> bool:
            try:
                data = channel.recv(CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if data and (frames := self._split(data)) is not None:
                if frames:
                    deliver(frames)
                return True
            self.link = False
            changed()
            return False

        self._reader = Reader(channel.fileno(), "passt", ready)

    def close(self) -> None:
        """See Driver."""
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.close()
        if self._passt is not None:
            self._passt.terminate()
            try:
                self._passt.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._passt.kill()
                self._passt.wait()

    def _flush(self) -> bool:
        """Whether all is sent."""
        assert self._socket is not None
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return False
            except OSError as error:
                raise MediumError(f"passt has ended ({error.strerror})") from None
            self._unsent = self._unsent[sent:]
        return True

    def _split(self, data: bytes) -> list[bytes] | None:
        """The frames that are whole by now; None for what passt would never send."""
        data = self._unread + data
        frames: list[bytes] = []
        at = 0
        while len(data) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, at)
            if not HEADER <= length <= MAX_FRAME:
                return None
            if len(data) - at - LENGTH.size < length:
                break
            at += LENGTH.size
            frames.append(data[at : at + length])
            at += length
        self._unread = data[at:]
        return frames
