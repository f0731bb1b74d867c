"""No export of a server behind two machines of this host while one of them writes it.

There is no file to lock. So a machine announces what it uses, by a socket with a name in the
abstract namespace of unix(7) that tells the export, how it is used, and by whom; then it looks
whether others have announced the same. Two that come at once may both be refused, and never both
be let in. The kernel takes the names away with the process, however that ends.

Names are seen by all users and in all run directories of one network namespace, and not beyond.
"""

import hashlib
import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from splitvisor.claims import claims_of
from splitvisor.errors import UserError
from splitvisor.machine import Machine

ANNOUNCED = Path("/proc/net/unix")  # an abstract name stands there behind @, see proc_net(5)
READS, WRITES = "r", "w"


@dataclass(slots=True)
class _Held:
    name: str
    socket: socket.socket
    exclusive: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    device: str  # guest/device, the first of those that want it
    exclusive: bool


class ExportLocks:
    """Of one machine; as a context given back at its end."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def __enter__(self) -> "ExportLocks":
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held.values():
            held.socket.close()
        self._held.clear()

    def take(self, machine: Machine) -> None:
        """Announce also what this machine claims; UserError if somebody else uses it."""
        for export, wanted in _wanted(machine).items():
            held = self._held.get(export)
            if held is None or (wanted.exclusive and not held.exclusive):
                self._announce(export, wanted)

    def keep(self, machine: Machine) -> None:
        """Give back what this machine does not claim, and announce what it claims and is free."""
        wanted = _wanted(machine)
        for export in self._held.keys() - wanted.keys():
            self._held.pop(export).socket.close()
        for export, one in wanted.items():
            held = self._held.get(export)
            if held is None or held.exclusive != one.exclusive:
                with suppress(UserError):  # it is in use here already
                    self._announce(export, one)

    def _announce(self, export: str, wanted: _Wanted) -> None:
        before = self._held.get(export)
        mine = _bound(export, wanted.exclusive)
        own = {mine.name, before.name if before else ""}
        others = (use for use in _uses(export) if use.name not in own)
        clash = next((use for use in others if use.exclusive or wanted.exclusive), None)
        if clash is not None:
            mine.socket.close()
            raise UserError(_in_use(export, wanted, clash))
        if before:
            before.socket.close()
        self._held[export] = mine


@dataclass(frozen=True, slots=True)
class _Use:
    name: str
    pid: int
    exclusive: bool


def _wanted(machine: Machine) -> dict[str, _Wanted]:
    """By what its driver calls it."""
    found: dict[str, _Wanted] = {}
    for device, claim in claims_of(machine):
        if claim.remote and (claim.remote not in found or claim.exclusive):
            found[claim.remote] = _Wanted(device, claim.exclusive)
    return found


def _prefix(export: str) -> str:
    return f"splitvisor/{hashlib.sha256(export.encode()).hexdigest()[:32]}"


def _bound(export: str, exclusive: bool) -> _Held:
    how = WRITES if exclusive else READS
    name = f"{_prefix(export)}/{how}/{os.getpid()}/{secrets.token_hex(4)}"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(f"\0{name}")
    return _Held(name, made, exclusive)


def _uses(export: str) -> list[_Use]:
    """By anybody; nothing if the host does not tell."""
    try:
        listing = ANNOUNCED.read_text(errors="replace")
    except OSError:
        return []
    pattern = rf"@({re.escape(_prefix(export))}/([{READS}{WRITES}])/(\d+)/\w+)$"
    found = re.finditer(pattern, listing, re.MULTILINE)
    return [_Use(one[1], int(one[3]), one[2] == WRITES) for one in found]


def _in_use(export: str, wanted: _Wanted, use: _Use) -> str:
    cure = "stop it first" if use.exclusive else "stop it first, or open it readonly"
    return f"device {wanted.device}: {export} is in use by another process (pid {use.pid}): {cure}"
