"""No file of the host behind two machines, or behind one and another program, while one writes it.

The locks are of open file descriptions (fcntl(2), F_OFD_SETLK) on the bytes that QEMU's programs
use for the same purpose: byte 100 + n is held by those who use permission n of a disk (0 is to
read, 1 to write), byte 200 + n by those who let nobody else use it. Who writes here lets nobody
else do anything; who reads lets others read.

Character devices are never opened: they hold no bytes. What does not exist yet is locked when it
does. Where a file system has no locks there are none.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from splitvisor.claims import claims_of
from splitvisor.errors import UserError
from splitvisor.machine import Machine

READS, WRITES = 100, 101
UNSHARED_READS, UNSHARED_WRITES = 200, 201
EVERYTHING = (100, 201)  # first byte, and how many
SHARED = (READS, UNSHARED_WRITES)
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of fcntl(2): type, whence, start, length, pid
_IN_USE = (errno.EAGAIN, errno.EACCES)

Identity = tuple[int, int]


@dataclass(slots=True)
class _Held:
    fd: int
    exclusive: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    device: str  # guest/device, the first of those that want it
    path: Path
    exclusive: bool


class InUseError(Exception):
    """Somebody else holds a lock that cannot be shared."""


class FileLocks:
    """Of one machine; as a context given back at its end."""

    def __init__(self) -> None:
        self._held: dict[Identity, _Held] = {}

    def __enter__(self) -> "FileLocks":
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held.values():
            os.close(held.fd)
        self._held.clear()

    def take(self, machine: Machine) -> None:
        """Lock also what this machine claims; UserError if somebody else uses it."""
        for identity, wanted in _wanted(machine).items():
            held = self._held.get(identity)
            if held and (held.exclusive or not wanted.exclusive):
                continue
            self._lock(identity, wanted)

    def keep(self, machine: Machine) -> None:
        """Give back what this machine does not claim, and lock what it claims and is free."""
        wanted = _wanted(machine)
        for identity in self._held.keys() - wanted.keys():
            os.close(self._held.pop(identity).fd)
        for identity, one in wanted.items():
            held = self._held.get(identity)
            if held is None:
                with suppress(UserError):  # it is in use here already
                    self._lock(identity, one)
            elif held.exclusive and not one.exclusive:
                _share(held.fd)
                held.exclusive = False

    def _lock(self, identity: Identity, wanted: _Wanted) -> None:
        flags = os.O_RDWR if wanted.exclusive else os.O_RDONLY
        try:
            fd = os.open(wanted.path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return  # its driver will say so
        before = self._held.get(identity)
        try:
            if before:  # our own would be in the way
                fcntl.fcntl(before.fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, *EVERYTHING))
            if wanted.exclusive:
                _set(fd, fcntl.F_WRLCK, *EVERYTHING)
            else:
                _share(fd)
                _refuse_writer(fd)
        except InUseError:
            problem = _in_use(wanted, fd)
            os.close(fd)
            if before:
                _share(before.fd)
            raise UserError(problem) from None
        if before:
            os.close(before.fd)
        self._held[identity] = _Held(fd, wanted.exclusive)


def _wanted(machine: Machine) -> dict[Identity, _Wanted]:
    """By file; those that can be locked."""
    found: dict[Identity, _Wanted] = {}
    for device, claim in claims_of(machine):
        if claim.remote:
            continue
        try:
            status = claim.path.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
            identity = status.st_dev, status.st_ino
            if identity not in found or claim.exclusive:
                found[identity] = _Wanted(device, claim.path, claim.exclusive)
    return found


def _share(fd: int) -> None:
    """Others may read it. What was held before is exchanged for that without a gap."""
    for byte in SHARED:
        _set(fd, fcntl.F_RDLCK, byte, 1)
    first, count = EVERYTHING
    for left, right in pairwise((first - 1, *SHARED, first + count)):
        if right - left > 1:
            _set(fd, fcntl.F_UNLCK, left + 1, right - left - 1)


def _refuse_writer(fd: int) -> None:
    if any(_holder_type(fd, byte) != fcntl.F_UNLCK for byte in (WRITES, UNSHARED_READS)):
        raise InUseError


def _set(fd: int, kind: int, first: int, count: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(kind, first, count))
    except OSError as error:
        if error.errno in _IN_USE:
            raise InUseError from None
        # Any other error: there are no locks here, and a machine need not have them.


def _holder_type(fd: int, byte: int) -> int:
    """What somebody else holds there: F_UNLCK if it is nothing."""
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte, 1))
    except OSError:
        return fcntl.F_UNLCK
    kind: int = _FLOCK.unpack(answer)[0]
    return kind


def _flock(kind: int, first: int, count: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, first, count, 0)


def _in_use(wanted: _Wanted, fd: int) -> str:
    pids = sorted(set(_holders(os.fstat(fd))))
    who = f"another process (pid {', '.join(map(str, pids))})" if pids else "another process"
    reads = wanted.exclusive and _holder_type(fd, WRITES) == fcntl.F_UNLCK
    cure = "stop it first, or open it readonly" if reads else "stop it first"
    return f"device {wanted.device}: file {wanted.path} is in use by {who}: {cure}"


def _holders(file: os.stat_result) -> Iterator[int]:
    """The processes that hold locks on it, as far as they are ours to look at: locks of open file
    descriptions do not tell.
    """
    major, minor = os.major(file.st_dev), os.minor(file.st_dev)
    place = f" {major:02x}:{minor:02x}:{file.st_ino} "
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                for info in (entry / "fdinfo").iterdir():
                    with suppress(OSError):
                        if any(
                            line.startswith("lock:") and place in line
                            for line in info.read_text().splitlines()
                        ):
                            yield int(entry.name)
                            break
