"""The outside without privileges, through `passt`: its sockets are those of an ordinary process.

passt (https://passt.top) speaks Ethernet to us, on one end of a pair of sockets, each frame behind
its length in four bytes; answers ARP, DHCP and the like itself; and has ordinary sockets carry TCP,
UDP and echoes of ICMP. It is started when this incarnation is to serve and dies with it: it belongs
to its process group, and ends by itself when the other end of its socket does. Connections through
it end then as well; guests open new ones.

The guest gets the address of the host's by DHCP. `tcp` and `udp` are ports of the host that lead
to the guest's, as passt's options -t and -u have them (`8080:80`; a comma needs quotes). The
loopback of the host is out of reach, unless `loopback`: then the gateway's address leads there.

A port that somebody else has is found when passt starts, and it ends then. So `begin` asks it for
an address, as a guest does, and waits for an answer or for its end.
"""

import contextlib
import ipaddress
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.ethernet import HEADER, MAX_FRAME, USUAL_MTU, NetOptions
from drivers.interface import DriverError, MediumError
from drivers.reading import Reader

LENGTH = struct.Struct(">I")
CHUNK = 1 << 18  # bytes read at once
END_SECONDS = 5.0
ANSWER_MS = 1000  # longer it is not waited for: without IPv4 on the host it says nothing
ARP = 0x0806
MADE_UP = bytes.fromhex("020000000001")  # who asks for a guest that has no address yet
# ARP (RFC 826, RFC 5227): who has 192.0.2.1? From nobody, so that nobody is remembered.
_QUESTION = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_PORTS = re.compile(r"(~?)(\d+)(?:-(\d+))?(?::(\d+)(?:-(\d+))?)?", re.ASCII)
INSTALL = "install passt (Debian: apt-get install passt)"


class UserNet:
    """The driver `net.user`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """What is forwarded to the guest, and whether it reaches the host's loopback."""

        tcp: str = "none"
        udp: str = "none"
        loopback: bool = False

        def __post_init__(self) -> None:
            NetOptions.__post_init__(self)
            for name in ("tcp", "udp"):
                ports = getattr(self, name)
                if not _forwards(ports):
                    raise ValueError(
                        f"{name} {ports!r} is no list of ports: write it like 8080, 8080:80, "
                        "8000-8010, 127.0.0.1/8080:80, or none"
                    )

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
        self._listener: Reader | None = None  # to what passt says
        self._words = -1
        self._unsent = b""  # the rest of what passt had no room for: frames are sent whole
        self._unread = b""

    def begin(self) -> None:
        """See Beginning: passt is started."""
        ours, theirs = socket.socketpair()
        # Nonblocking for passt too: it goes on though nobody reads what it says.
        self._words, words = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with theirs:
            self._socket = ours
            try:
                self._passt = subprocess.Popen(
                    [*self._command, "--fd", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=words,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                text = f"{self._command[0]} cannot be started: {error.strerror}"
                raise DriverError(f"{text}; {INSTALL}") from None
            finally:
                os.close(words)
        ours.setblocking(False)
        self._await_answer(ours)
        self._listener = Reader(self._words, "passt's words", self._pass_on)

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
        for reader in (self._reader, self._listener):
            if reader is not None:
                reader.close()
        if self._words >= 0:
            os.close(self._words)
        if self._socket is not None:
            self._socket.close()
        if self._passt is not None:
            self._passt.terminate()
            try:
                self._passt.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._passt.kill()
                self._passt.wait()

    def _await_answer(self, channel: socket.socket) -> None:
        """Until passt has answered, or DriverError if it ends. The guest gets no answer."""
        question = _question(self.mac or MADE_UP)
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        answer = b""
        try:
            channel.send(LENGTH.pack(len(question)) + question)
            while (left := _missing(answer)) and poll.poll(ANSWER_MS):
                answer += (part := channel.recv(left))
                if not part:
                    raise ConnectionResetError
        except OSError:
            raise DriverError(f"passt has ended at once: {self._last_words()}") from None
        if answer[LENGTH.size + 12 :][:2] != ARP.to_bytes(2):
            self._unread = answer

    def _last_words(self) -> str:
        assert self._passt is not None
        try:
            self._passt.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it has closed its socket"
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._words, CHUNK)
        lines = said.decode(errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()]
        return last[-1] if last else f"status {self._passt.returncode}"

    def _pass_on(self) -> bool:
        """What passt says is for the operator."""
        try:
            said = os.read(self._words, CHUNK)
        except BlockingIOError:
            return True
        sys.stderr.write(said.decode(errors="replace"))
        sys.stderr.flush()
        return bool(said)

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


def _missing(said: bytes) -> int:
    """How many bytes there are to come until the first frame is whole; none of what is no frame."""
    if len(said) < LENGTH.size:
        return LENGTH.size - len(said)
    length = int.from_bytes(said[: LENGTH.size])
    return max(0, LENGTH.size + length - len(said)) if HEADER <= length <= MAX_FRAME else 0


def _question(asker: bytes) -> bytes:
    everybody, nobody = b"\xff" * 6, bytes(4)
    fixed = ARP, 1, 0x0800, 6, 4, 1  # Ethernet, IPv4, lengths of their addresses, request
    return _QUESTION.pack(everybody, asker, *fixed, asker, nobody, bytes(6), bytes((192, 0, 2, 1)))


def _forwards(ports: str) -> bool:
    """Whether passt would understand that, as far as can be told without it."""
    if ports in ("none", "all"):
        return True
    where, slash, rest = ports.rpartition("/")
    if slash:
        try:
            ipaddress.ip_address(where.partition("%")[0].strip("[]"))
        except ValueError:
            return False
    return all(_is_range(part) for part in rest.split(","))


def _is_range(part: str) -> bool:
    found = _PORTS.fullmatch(part)
    if found is None:
        return False
    left_out, first, last, to_first, to_last = found.groups()
    numbers = [int(number[:6]) for number in (first, last, to_first, to_last) if number]
    if not all(0 < number < 1 << 16 for number in numbers) or (left_out and to_first):
        return False
    return int(first) <= int(last or first) and int(to_first or 0) <= int(to_last or to_first or 0)
