"""A directory of the host, shown to a guest as it is.

Everything is done as the user who runs the service OS. The guest is not trusted: see beneath.py for
how it is kept below the directory. Only files and directories are opened; symbolic links, devices,
FIFOs and sockets are shown as what they are, and are the guest's to make something of.

Modes are kept, but for set-user-id and set-group-id, which would hand this user's rights to others
on the host.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.beneath import again, find
from drivers.folders import NOW, Change, Listed
from drivers.interface import DriverError, Keep
from drivers.notes import Notes

MAX_TAG = 31  # bytes; what the launchers and guests of others take
MODE_BITS = 0o1777
NAMES = 1 << 18  # in one directory; EOVERFLOW where there are more
NOTES_BYTES = 1 << 20  # noted beyond what there was to say, before it is said anew
OPENING = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class DirectoryFolder:
    """The driver `folder.directory`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The directory, and the tag under which the guest mounts it."""

        path: Path
        keep: Keep
        tag: str = "share0"
        readonly: bool = False

        def __post_init__(self) -> None:
            if not 0 < len(self.tag.encode()) <= MAX_TAG or "\0" in self.tag:
                raise ValueError(f"tag {self.tag!r}: give a name of 1 to {MAX_TAG} bytes")

    # Seconds: a batch may bring as many writes as the queue has room for, or have several
    # directories of so many names listed.
    patience = 10.0

    def __init__(self, options: Options) -> None:
        self.tag = options.tag
        self.owner = (os.geteuid(), os.getegid())
        self._path = options.path
        self._readonly = options.readonly
        self._keep = options.keep.path
        self._notes: Notes | None = None
        self._enough = 0
        self._root = self._open_root()

    def begin(self) -> None:
        """See Beginning: the path may lead elsewhere by now."""
        os.close(self._root)
        self._root = -1
        self._root = self._open_root()
        try:
            self._notes = Notes(self._keep)
        except OSError as error:
            raise DriverError(
                f"the notes on a shared folder, {self._keep}, cannot be kept: {error.strerror}; "
                "the machine's run directory must be there and writable"
            ) from None
        self._enough = self._notes.size + NOTES_BYTES

    def close(self) -> None:
        """See Driver."""
        if self._root >= 0:  # not if it was away when this was to begin
            os.close(self._root)
        if self._notes is not None:
            self._notes.close()

    def stat(self, path: bytes) -> os.stat_result:
        """See FolderDriver."""
        with self._found(path) as fd:
            return os.fstat(fd)

    def space(self) -> os.statvfs_result:
        """See FolderDriver."""
        return os.fstatvfs(self._root)

    def open(self, path: bytes, flags: int) -> "DirectoryFile":
        """See FolderDriver."""
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self._refuse_changes()
        with self._found(path) as fd:
            return self._open(fd, flags)

    def reopen(self, path: bytes, flags: int, inode: int) -> "DirectoryFile":
        """See FolderDriver."""
        with self._found(path) as fd:
            found = os.fstat(fd)
            if found.st_ino != inode:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            try:
                return self._open(fd, flags)
            except PermissionError:
                # Made with a mode that allows no more than its maker has already, as git does.
                mode = stat.S_IMODE(found.st_mode)
                os.chmod(again(fd), mode | stat.S_IRUSR | stat.S_IWUSR)
                try:
                    return self._open(fd, flags)
                finally:
                    os.chmod(again(fd), mode)

    def create(self, path: bytes, flags: int, mode: int) -> "DirectoryFile":
        """See FolderDriver."""
        with self._changing(path) as (parent, name):
            creating = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | OPENING
            fd = os.open(name, flags | creating, mode & MODE_BITS, dir_fd=parent)
            try:
                os.fchmod(fd, mode & MODE_BITS)
            except OSError:
                os.close(fd)
                raise
            return DirectoryFile(fd, self._readonly)

    def make_directory(self, path: bytes, mode: int) -> None:
        """See FolderDriver."""
        with self._changing(path) as (parent, name):
            os.mkdir(name, mode & MODE_BITS, dir_fd=parent)
        self.change(path, Change(mode=mode))

    def make_symlink(self, path: bytes, target: bytes) -> None:
        """See FolderDriver."""
        with self._changing(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def make_link(self, path: bytes, existing: bytes) -> None:
        """See FolderDriver."""
        with self._changing(path) as (parent, name), self._changing(existing) as (there, other):
            os.link(other, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)

    def read_symlink(self, path: bytes) -> bytes:
        """See FolderDriver."""
        with self._found(path) as fd:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return os.readlink(b"", dir_fd=fd)

    def rename(self, old: bytes, new: bytes) -> None:
        """See FolderDriver."""
        with self._changing(old) as (there, other), self._changing(new) as (parent, name):
            os.rename(other, name, src_dir_fd=there, dst_dir_fd=parent)

    def remove(self, path: bytes, directory: bool) -> None:
        """See FolderDriver."""
        with self._changing(path) as (parent, name):
            if directory:
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)

    def change(self, path: bytes, change: Change) -> None:
        """See FolderDriver."""
        self._refuse_changes()
        with self._found(path) as fd:
            _change(fd, change)

    def notes(self) -> list[bytes]:
        """See FolderDriver."""
        assert self._notes is not None
        return self._notes.found

    def note(self, record: bytes, instead: Callable[[], Sequence[bytes]]) -> None:
        """See FolderDriver."""
        assert self._notes is not None
        self._notes.add(record)
        if self._notes.size > self._enough:
            self._notes.replace(instead())
            self._enough = 2 * self._notes.size + NOTES_BYTES

    def _open_root(self) -> int:
        try:
            root = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DriverError(
                f"cannot share {self._path}: {error.strerror}; path= names a directory"
            ) from None
        try:
            os.close(find(root, b".", directory=True))
        except OSError as error:
            os.close(root)
            raise DriverError(
                f"cannot share {self._path}: openat2: {error.strerror}; it needs Linux 5.6 or newer"
            ) from None
        return root

    def _refuse_changes(self) -> None:
        if self._readonly:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    @contextmanager
    def _found(self, path: bytes) -> Iterator[int]:
        fd = find(self._root, path)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _changing(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory that `path` is in, and its name there."""
        self._refuse_changes()
        above, _, name = path.rpartition(b"/")
        if name == b".":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        parent = find(self._root, above or b".", directory=True)
        try:
            yield parent, name
        finally:
            os.close(parent)

    def _open(self, found: int, flags: int) -> "DirectoryFile":
        mode = os.fstat(found).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return DirectoryFile(os.open(again(found), flags | OPENING), self._readonly)


class DirectoryFile:
    """An open file or directory of the host; see OpenFile."""

    def __init__(self, fd: int, readonly: bool) -> None:
        self._fd = fd
        self._readonly = readonly

    def stat(self) -> os.stat_result:
        """See OpenFile."""
        return os.fstat(self._fd)

    def read(self, offset: int, into: memoryview) -> int:
        """See OpenFile."""
        done = 0
        while done < len(into):
            count = os.preadv(self._fd, (into[done:],), offset + done)
            if not count:
                break
            done += count
        return done

    def write(self, offset: int, data: memoryview) -> int:
        """See OpenFile."""
        return os.pwritev(self._fd, (data,), offset)

    def sync(self, data_only: bool) -> None:
        """See OpenFile."""
        if data_only:
            os.fdatasync(self._fd)
        else:
            os.fsync(self._fd)

    def change(self, change: Change) -> None:
        """See OpenFile."""
        if self._readonly:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if change.size is not None:  # by what it was opened for, not by its mode
            os.ftruncate(self._fd, change.size)
        _change(self._fd, replace(change, size=None))

    def names(self) -> list[Listed]:
        """See OpenFile."""
        listed: list[Listed] = []
        with os.scandir(self._fd) as entries:
            for entry in entries:
                if len(listed) == NAMES:
                    raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
                listed.append(Listed(os.fsencode(entry.name), entry.inode(), _type(entry)))
        return listed

    def close(self) -> None:
        """See OpenFile."""
        os.close(self._fd)


def _type(entry: "os.DirEntry[str]") -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    with suppress(FileNotFoundError):
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    return 0


def _change(fd: int, change: Change) -> None:
    path = again(fd)
    if change.size is not None:
        os.truncate(path, change.size)
    if change.mode is not None:
        os.chmod(path, change.mode & MODE_BITS)
    if change.accessed is not None or change.modified is not None:
        found, now = os.fstat(fd), time.time_ns()
        accessed = found.st_atime_ns if change.accessed is None else change.accessed
        modified = found.st_mtime_ns if change.modified is None else change.modified
        accessed, modified = (now if t == NOW else t for t in (accessed, modified))
        os.utime(path, ns=(accessed, modified))
