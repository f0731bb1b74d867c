"""A request of 9P2000.L while it is executed, and the paths that it may name."""

import errno
import os

from service_os.models.ninep_fids import Fid, Memory

ROOT = b"."
KEPT = os.O_ACCMODE | os.O_DSYNC | os.O_SYNC  # of the flags of an open file


class Turn:
    """A request being executed, for whose reply there are `room` bytes."""

    def __init__(self, memory: Memory, generation: int, room: int) -> None:
        self.room = room
        self.intended = False
        self._memory = memory
        self._generation = generation
        begun = memory.intent
        self.again = begun is not None and begun.generation == generation
        self._facts = begun.facts if begun else b""

    def intend(self, facts: bytes = b"") -> bytes:
        """About to change something; the facts as they were before that was said first."""
        self.intended = True
        if self.again:
            return self._facts
        self._memory.intend(self._generation, facts)
        return facts


def fid_of(memory: Memory, number: int) -> Fid:
    """What the guest has under this number; OSError if nothing."""
    fid = memory.fids.get(number)
    if fid is None:
        raise error(errno.EBADF)
    return fid


def error(number: int) -> OSError:
    """With the words that belong to its number."""
    return OSError(number, os.strerror(number))


def child(path: bytes, name: bytes) -> bytes:
    """Of the directory at `path`; the name is the guest's."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise error(errno.EINVAL)
    return name if path == ROOT else path + b"/" + name


def above(path: bytes) -> bytes:
    """The directory that it is in; for the root itself."""
    return path.rpartition(b"/")[0] or ROOT


def step(path: bytes, name: bytes) -> bytes:
    """From `path` by a name of a walk; from the root `..` leads nowhere else."""
    return above(path) if name == b".." else child(path, name)


def checked(flags: int) -> int:
    """Of the guest's flags those that mean something here; who appends says where."""
    if flags & os.O_ACCMODE == os.O_ACCMODE:
        raise error(errno.EINVAL)
    return flags & (KEPT | os.O_TRUNC)
