"""What a driver of a shared folder is, as drivers/interface.py says it of the other kinds."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.interface import Driver


@dataclass(frozen=True, slots=True)
class Listed:
    """A name in a directory, of what inode and type (as in `st_mode`)."""

    name: bytes
    inode: int
    mode: int


NOW = -1 << 63  # as a time that a file is to have


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed of a file; None stays. Times are nanoseconds since 1970, or NOW."""

    mode: int | None = None  # the bits of chmod(2)
    size: int | None = None
    accessed: int | None = None
    modified: int | None = None


class OpenFile(Protocol):
    """A file or directory that is open; it stays readable when its name is gone. OSError for all
    that fails.
    """

    def stat(self) -> os.stat_result:
        """As fstat(2)."""

    def read(self, offset: int, into: memoryview) -> int:
        """Fill `into`, or as much as the file has; how many bytes it were."""

    def write(self, offset: int, data: memoryview) -> int:
        """How many bytes of `data` were stored; what was survives the death of this process."""

    def sync(self, data_only: bool) -> None:
        """On return what was written survives the loss of power."""

    def change(self, change: Change) -> None:
        """See FolderDriver."""

    def names(self) -> list[Listed]:
        """Of a directory, in any order, without `.` and `..`."""

    def close(self) -> None:
        """Give it back."""


class FolderDriver(Driver, Protocol):
    """A tree of files. A path is names joined by `/`, none of them empty, `.` or `..`; the root is
    `.` alone. Whatever a path says, nothing outside the tree is touched, and no symbolic link is
    followed. What fails raises OSError, and the guest is shown its number.

    Each call is made once more by another incarnation if this one dies in it. What a call changes,
    it changes before it returns.
    """

    tag: str  # the name under which a guest mounts it, at most 31 bytes
    owner: tuple[int, int]  # uid and gid of the files that the guest sees as root's

    def stat(self, path: bytes) -> os.stat_result:
        """As lstat(2)."""

    def space(self) -> os.statvfs_result:
        """Of the whole tree."""

    def open(self, path: bytes, flags: int) -> OpenFile:
        """A file or directory that exists; nothing that could block is opened. Of flags there are
        the access mode, O_TRUNC, O_DSYNC and O_SYNC.
        """

    def reopen(self, path: bytes, flags: int, inode: int) -> OpenFile:
        """The same for what an earlier incarnation had open, whatever its mode has become since;
        ESTALE if that path leads to another file now.
        """

    def create(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """A file that does not exist, opened; EEXIST if it does."""

    def make_directory(self, path: bytes, mode: int) -> None:
        """As mkdir(2), but with exactly this mode."""

    def make_symlink(self, path: bytes, target: bytes) -> None:
        """A link at `path` that says `target`, whatever that is."""

    def make_link(self, path: bytes, existing: bytes) -> None:
        """Another name for a file."""

    def read_symlink(self, path: bytes) -> bytes:
        """What the link says."""

    def rename(self, old: bytes, new: bytes) -> None:
        """As rename(2)."""

    def remove(self, path: bytes, directory: bool) -> None:
        """As rmdir(2) or unlink(2)."""

    def change(self, path: bytes, change: Change) -> None:
        """All of it, or what could be done before something failed."""

    def notes(self) -> list[bytes]:
        """What was noted by earlier incarnations, oldest first; after `begin`."""

    def note(self, record: bytes, instead: Callable[[], Sequence[bytes]]) -> None:
        """Have the record found by the next incarnation; when there are too many, only those that
        `instead` gives, which say the same.
        """
