"""Nothing behind two devices of a machine while one of them writes it: no file of the host, and no
export of a server.

Two writers, or a log on top of a disk, spoil each other's bytes without any error, so this is
refused before anything starts. Files are told apart as the host does, by device and inode, so
links to one file are one file; what does not exist yet is known by where its path leads. What a
server has is known by what its driver calls it.

Character devices (/dev/null) hold no bytes and may stand behind any number of devices.

What a driver keeps in the machine's run directory (a memory disk) is in a place of the device's
own; here that place is only a name, since the directory may not be there yet.
"""

import os
import stat
from collections.abc import Hashable, Iterator
from pathlib import Path

from drivers import registry
from drivers.interface import Claim, Keep
from splitvisor.errors import UserError
from splitvisor.machine import Machine

_NOWHERE = Path("/nonexistent")


def refuse_shared_files(machine: Machine) -> None:
    """UserError if two devices claim a thing and one writes it; DriverError if a spec is wrong."""
    seen: dict[Hashable, list[tuple[str, Claim]]] = {}
    for name, claim in claims_of(machine):
        identity = claim.remote or _identity(claim.path)
        if identity is None:
            continue
        others = seen.setdefault(identity, [])
        for other, earlier in others:
            if claim.exclusive or earlier.exclusive:
                raise UserError(_clash(other, earlier, name, claim))
        others.append((name, claim))


def claims_of(machine: Machine) -> Iterator[tuple[str, Claim]]:
    """What each device (guest/device) claims; DriverError if its spec is wrong."""
    for guest in machine.guests:
        for device in guest.devices:
            keep = keep_of(guest.name, device.name)
            for claim in registry.claims(device.model.driver_kind, device.spec, keep):
                yield f"{guest.name}/{device.name}", claim


def keep_of(guest: str, device: str) -> Keep:
    """A name for what a device keeps, where nothing is."""
    return Keep(_NOWHERE / guest / device)


def _identity(path: Path) -> Hashable | None:
    """The same for all paths to one file or block device; None where sharing harms nobody."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    if stat.S_ISCHR(found.st_mode):
        return None
    if stat.S_ISBLK(found.st_mode):
        return "block device", found.st_rdev
    return found.st_dev, found.st_ino


def _clash(first: str, earlier: Claim, second: str, claim: Claim) -> str:
    if claim.remote:
        return _told(claim.remote, "an export", first, second)
    if earlier.path.is_relative_to(_NOWHERE):
        return f"a place in the run directory is used twice by {first}: give each disk a name=..."
    also = "" if claim.path == earlier.path else f" (the same file as {claim.path})"
    return _told(f"file {earlier.path}{also}", "a file", first, second)


def _told(what: str, own: str, first: str, second: str) -> str:
    if first == second:
        return (
            f"{what} is used twice by {first}, and not only read: give each driver {own} of its own"
        )
    return (
        f"{what} is used by {first} and {second}, and not only read: "
        f"give each {own} of its own (readonly disks may share one)"
    )
