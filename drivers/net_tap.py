"""A TAP interface of the host: what the guest sends arrives there as from a cable, and back.

The interface should be there before, made by whoever may do so, with its addresses or in a bridge:
then it outlives every service OS, and needs no privileges here. With the right to administer the
network (CAP_NET_ADMIN) one that is missing is made, brought up, and stays after the machine.

One process has an interface at a time, so a standby only looks whether it could have it; it takes
it when it is to serve, and the one before has left it by dying.
"""

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.ethernet import MAX_FRAME, NetOptions
from drivers.interface import DriverError, MediumError
from drivers.reading import Reader

DEVICE = Path("/dev/net/tun")
BATCH = 64  # frames read before they are handed over
CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h
NAME = re.compile(r"[^/:\s]{1,15}")  # IFNAMSIZ, dev_valid_name()

# include/uapi/linux/if_tun.h, if.h, sockios.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_UP = 0x0002, 0x1000, 0x1
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCSIFMTU = 0x8913, 0x8914, 0x8921, 0x8922
IFREQ = 40  # bytes of struct ifreq


class TapNet:
    """The driver `net.tap`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """Which interface; `mtu` is that of the interface unless it is given."""

        ifname: str

        def __post_init__(self) -> None:
            NetOptions.__post_init__(self)
            if not NAME.fullmatch(self.ifname) or self.ifname in (".", ".."):
                raise ValueError(f"ifname {self.ifname!r}: give at most 15 letters and digits")

    def __init__(self, options: Options) -> None:
        self.link = True
        self.mac = options.address
        self.mtu = options.mtu  # 0: the interface says it, when it is taken
        self._options = options
        self._name = options.ifname
        if not _exists(self._name) and not _may_administer():
            raise DriverError(f"TAP interface {self._name} does not exist: {_cure(self._name)}")
        try:
            self._fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise DriverError(
                f"{DEVICE} cannot be opened: {error.strerror}; load the module tun, and give "
                f"this user the right to read and write {DEVICE}"
            ) from None
        self._buffer = memoryview(bytearray(MAX_FRAME))
        self._reader: Reader | None = None

    def begin(self) -> None:
        """See Beginning: the interface is taken."""
        made = not _exists(self._name)
        try:
            fcntl.ioctl(self._fd, TUNSETIFF, _request(self._name, "H", IFF_TAP | IFF_NO_PI))
        except OSError as error:
            raise DriverError(_cannot_attach(self._name, error)) from None
        try:
            if made:
                fcntl.ioctl(self._fd, TUNSETPERSIST, 1)
                _configure(self._name, self._options.mtu)
            if not self._options.mtu:
                self.mtu = _ask(SIOCGIFMTU, self._name, "i")
        except OSError as error:
            text = f"TAP interface {self._name} cannot be set up: {error.strerror}"
            raise DriverError(f"{text}; {_cure(self._name)}") from None

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver. What the interface has no room for is lost."""
        problem: OSError | None = None
        for frame in frames:
            try:
                os.write(self._fd, frame)
            except BlockingIOError:
                pass
            except OSError as error:
                problem = error
        if problem is not None:
            down = problem.errno == errno.EIO
            cure = f"; bring it up with 'ip link set {self._name} up'" if down else ""
            raise MediumError(f"TAP interface {self._name}: {problem.strerror}{cure}")

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""

        def ready() -> bool:
            frames, there = self._read()
            if frames:
                deliver(frames)
            if not there:
                self.link = False
                changed()
            return there

        self._reader = Reader(self._fd, f"tap {self._name}", ready)

    def close(self) -> None:
        """See Driver."""
        if self._reader is not None:
            self._reader.close()
        os.close(self._fd)

    def _read(self) -> tuple[list[bytes], bool]:
        """Frames that are there, and whether the interface still is."""
        frames: list[bytes] = []
        try:
            while len(frames) < BATCH:
                length = os.readv(self._fd, [self._buffer])
                frames.append(bytes(self._buffer[:length]))
        except BlockingIOError:
            pass
        except OSError:
            return frames, False
        return frames, True


def _request(name: str, kind: str, value: int) -> bytes:
    """A struct ifreq."""
    return struct.pack(f"16s{kind}", name.encode(), value).ljust(IFREQ, b"\0")


def _ask(question: int, name: str, kind: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, question, _request(name, kind, 0))
    value: int = struct.unpack_from(f"16s{kind}", answer)[1]
    return value


def _configure(name: str, mtu: int) -> None:
    """Bring up an interface that was made here."""
    flags = _ask(SIOCGIFFLAGS, name, "h") | IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        if mtu:
            fcntl.ioctl(any_socket, SIOCSIFMTU, _request(name, "i", mtu))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, _request(name, "h", flags))


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _may_administer() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> CAP_NET_ADMIN & 1)


def _cure(name: str) -> str:
    return (
        f"make it with 'ip tuntap add dev {name} mode tap user $USER' and "
        f"'ip link set {name} up', as root"
    )


def _cannot_attach(name: str, error: OSError) -> str:
    what = f"TAP interface {name}"
    if error.errno == errno.EBUSY:
        return f"{what} is in use by another process: end that, or name another interface"
    if error.errno == errno.EINVAL:
        return f"{what} is no TAP interface with one queue: name another; {_cure(name)}"
    if error.errno == errno.EPERM:
        return f"{what} belongs to somebody else, or to nobody: {_cure(name)}"
    return f"{what} cannot be used: {error.strerror}; {_cure(name)}"
