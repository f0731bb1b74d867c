"""What each request of 9P2000.L does: fids to paths, and one call of the driver's.

Executing one twice must be executing it once. What only reads, or sets something to a value, is
just done again. What makes, moves or removes a name looks first and says so (`Turn.intend`); if
that was said by an incarnation that then died, what it would have changed counts as changed by it.

Locks are granted without being taken: the guest's kernel keeps its own, and nobody else's are
looked at. There are no extended attributes, no devices to be made, and no authentication.
"""

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from drivers.interface import NOW, Change, FolderDriver, Listed, OpenFile
from service_os.models import ninep_wire as wire
from service_os.models.ninep_fids import Entries, Fid, Memory
from service_os.models.ninep_wire import T

VERSION = b"9P2000.L"
MIN_MSIZE = 4096
NOFID = 0xFFFFFFFF
NOBODY = 65534
ROOT = b"."
KEPT = os.O_ACCMODE | os.O_DSYNC | os.O_SYNC  # of the flags of an open file
MAX_OFFSET = (1 << 63) - 1
SECOND = 1_000_000_000

# Of Tsetattr, which fields are valid.
A_MODE, A_UID, A_GID, A_SIZE, A_ATIME, A_MTIME = (1 << i for i in range(6))
A_ATIME_SET, A_MTIME_SET = 1 << 7, 1 << 8


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


class Operations:
    """Requests on one driver and what is remembered of it; what fails raises OSError."""

    def __init__(self, driver: FolderDriver, memory: Memory, msize: int) -> None:
        self._driver = driver
        self._memory = memory
        self._msize = msize
        self._handlers: dict[int, Callable[..., bytes]] = {
            T.STATFS: self._statfs,
            T.LOPEN: self._lopen,
            T.LCREATE: self._lcreate,
            T.SYMLINK: self._symlink,
            T.MKNOD: self._mknod,
            T.RENAME: self._rename,
            T.READLINK: self._readlink,
            T.GETATTR: self._getattr,
            T.SETATTR: self._setattr,
            T.READDIR: self._readdir,
            T.FSYNC: self._fsync,
            T.LOCK: self._lock,
            T.GETLOCK: self._getlock,
            T.LINK: self._link,
            T.MKDIR: self._mkdir,
            T.RENAMEAT: self._renameat,
            T.UNLINKAT: self._unlinkat,
            T.ATTACH: self._attach,
            T.FLUSH: lambda turn, tag: b"",  # what came before it is answered already
            T.WALK: self._walk,
            T.WRITE: self._write,
            T.CLUNK: self._clunk,
            T.REMOVE: self._remove,
        }

    def body(self, call: wire.Call, turn: Turn) -> bytes:
        """Of the reply; Exhausted for more fids than are kept."""
        if call.kind == T.VERSION:
            return self._version(*call.fields)
        if not self._memory.msize:
            raise _error(errno.EPROTO)
        handler = self._handlers.get(call.kind)
        if handler is None:
            raise _error(errno.EOPNOTSUPP)
        return handler(turn, *call.fields)

    def read(self, fields: tuple[Any, ...], into: memoryview) -> int:
        """Tread: how many bytes of `into`."""
        number, offset, count = fields
        if offset + count > MAX_OFFSET:
            raise _error(errno.EINVAL)
        return self._file(self._fid(number)).read(offset, into[:count])

    def _version(self, msize: int, version: bytes) -> bytes:
        if msize < MIN_MSIZE:
            raise _error(errno.EMSGSIZE)
        msize = min(msize, self._msize)
        known = version == VERSION
        self._memory.begin_session(msize if known else 0)
        return msize.to_bytes(4, "little") + wire.text(VERSION if known else b"unknown")

    def _attach(
        self, turn: Turn, number: int, afid: int, _user: bytes, tree: bytes, *_: int
    ) -> bytes:
        if afid != NOFID:
            raise _error(errno.EOPNOTSUPP)
        if tree not in (b"", b"/"):
            raise _error(errno.ENOENT)
        self._check_new(number)
        found = self._driver.stat(ROOT)
        self._memory.check_room(ROOT)
        self._memory.put(number, Fid(ROOT))
        return wire.qid(found)

    def _walk(self, turn: Turn, number: int, new: int, names: tuple[bytes, ...]) -> bytes:
        fid = self._fid(number)
        if new != number:
            self._check_new(new)
        elif fid.is_open:
            raise _error(errno.EBADF)
        path, found = fid.path, b""
        for i, name in enumerate(names):
            try:
                path = _step(path, name)
                found += wire.qid(self._driver.stat(path))
            except OSError:
                if not i:
                    raise
                return i.to_bytes(2, "little") + found
        self._memory.check_room(path)
        self._memory.put(new, Fid(path))
        return len(names).to_bytes(2, "little") + found

    def _clunk(self, turn: Turn, number: int) -> bytes:
        self._fid(number)
        self._memory.drop(number)
        return b""

    def _statfs(self, turn: Turn, number: int) -> bytes:
        self._fid(number)
        return wire.space(self._driver.space())

    def _getattr(self, turn: Turn, number: int, _wanted: int) -> bytes:
        found = self._stat(self._fid(number))
        uid, gid = self._driver.owner
        return wire.attributes(
            found,
            0 if found.st_uid == uid else NOBODY,
            0 if found.st_gid == gid else NOBODY,
        )

    def _setattr(
        self,
        turn: Turn,
        number: int,
        valid: int,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        *times: int,
    ) -> bytes:
        fid = self._fid(number)
        if (valid & A_UID and uid) or (valid & A_GID and gid):
            raise _error(errno.EPERM)  # all that is made here belongs to the guest's root
        if valid & A_SIZE and size > MAX_OFFSET:
            raise _error(errno.EINVAL)
        change = Change(
            mode & 0o7777 if valid & A_MODE else None,
            size if valid & A_SIZE else None,
            _time(valid & A_ATIME, valid & A_ATIME_SET, *times[:2]),
            _time(valid & A_MTIME, valid & A_MTIME_SET, *times[2:]),
        )
        if change != Change():
            if fid.is_open:
                self._file(fid).change(change)
            else:
                self._driver.change(fid.path, change)
        return b""

    def _lopen(self, turn: Turn, number: int, flags: int) -> bytes:
        fid = self._fid(number)
        if fid.is_open:
            raise _error(errno.EBADF)
        flags = _checked(flags)
        self._memory.check_room_to_open()
        file = self._driver.open(fid.path, flags)
        return self._opened(number, fid.path, flags, file)

    def _lcreate(
        self, turn: Turn, number: int, name: bytes, flags: int, mode: int, _gid: int
    ) -> bytes:
        fid = self._fid(number)
        if fid.is_open:
            raise _error(errno.EBADF)
        path = _child(fid.path, name)
        exclusive = flags & os.O_EXCL
        flags = _checked(flags)
        self._memory.check_room_to_open()
        if not turn.again and self._exists(path):
            if exclusive:
                raise _error(errno.EEXIST)
            return self._opened(number, path, flags, self._driver.open(path, flags))
        turn.intend()
        try:
            file = self._driver.create(path, flags, mode)
        except FileExistsError:
            if turn.again:
                file = self._driver.reopen(path, flags, self._driver.stat(path).st_ino)
                file.change(Change(mode=mode & 0o7777))
            elif exclusive:
                raise
            else:
                file = self._driver.open(path, flags)  # somebody else made it just now
        return self._opened(number, path, flags, file)

    def _opened(self, number: int, path: bytes, flags: int, file: OpenFile) -> bytes:
        found = file.stat()
        self._memory.put(number, Fid(path, flags & KEPT, found.st_ino, file))
        return wire.qid(found) + bytes(4)  # the most in one request: as much as a message holds

    def _write(self, turn: Turn, number: int, offset: int, data: memoryview) -> bytes:
        if offset + len(data) > MAX_OFFSET:
            raise _error(errno.EFBIG)
        count = self._file(self._fid(number)).write(offset, data)
        return count.to_bytes(4, "little")

    def _fsync(self, turn: Turn, number: int, data_only: int) -> bytes:
        self._file(self._fid(number)).sync(bool(data_only))
        return b""

    def _readdir(self, turn: Turn, number: int, offset: int, count: int) -> bytes:
        fid = self._fid(number)
        file = self._file(fid)
        if fid.entries is None or not offset:
            fid.entries = self._entries(fid, file)
        room = min(count, turn.room - wire.IO_HEADER)
        told = bytearray()
        at = bisect_right(fid.entries, offset, key=lambda entry: entry[0])
        for cookie, listed in fid.entries[at:]:
            one = wire.entry(listed.name, listed.inode, listed.mode, cookie)
            if len(told) + len(one) > room:
                if not told:
                    raise _error(errno.EINVAL)
                break
            told += one
        return len(told).to_bytes(4, "little") + told

    def _entries(self, fid: Fid, file: OpenFile) -> Entries:
        """In the order of cookies that depend on the names alone, so that where a guest was in a
        directory means the same to each incarnation, whatever came and went meanwhile.
        """
        names = file.names()
        above = self._driver.stat(_above(fid.path)).st_ino
        entries = [
            (1, Listed(b".", fid.inode, stat.S_IFDIR)),
            (2, Listed(b"..", above, stat.S_IFDIR)),
            *((_cookie(listed.name), listed) for listed in names),
        ]
        return sorted(entries, key=lambda entry: entry[0])

    def _mkdir(self, turn: Turn, number: int, name: bytes, mode: int, _gid: int) -> bytes:
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.make_directory(path, mode)
        except FileExistsError:
            if not turn.again:
                raise
            self._driver.change(path, Change(mode=mode & 0o7777))
        return wire.qid(self._driver.stat(path))

    def _symlink(self, turn: Turn, number: int, name: bytes, target: bytes, _gid: int) -> bytes:
        if b"\0" in target:
            raise _error(errno.EINVAL)
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.make_symlink(path, target)
        except FileExistsError:
            if not turn.again:
                raise
        return wire.qid(self._driver.stat(path))

    def _link(self, turn: Turn, directory: int, number: int, name: bytes) -> bytes:
        existing = self._fid(number).path
        path = self._vacant(turn, directory, name)
        turn.intend()
        try:
            self._driver.make_link(path, existing)
        except FileExistsError:
            if not turn.again:
                raise
        return b""

    def _mknod(
        self, turn: Turn, number: int, name: bytes, mode: int, _major: int, _minor: int, _gid: int
    ) -> bytes:
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _error(errno.EPERM)
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.create(path, os.O_RDONLY, mode).close()
        except FileExistsError:
            if not turn.again:
                raise
            self._driver.change(path, Change(mode=mode & 0o7777))
        return wire.qid(self._driver.stat(path))

    def _readlink(self, turn: Turn, number: int) -> bytes:
        return wire.text(self._driver.read_symlink(self._fid(number).path))

    def _rename(self, turn: Turn, number: int, directory: int, name: bytes) -> bytes:
        return self._move(turn, self._fid(number).path, _child(self._fid(directory).path, name))

    def _renameat(self, turn: Turn, old: int, name: bytes, new: int, new_name: bytes) -> bytes:
        there = _child(self._fid(new).path, new_name)
        return self._move(turn, _child(self._fid(old).path, name), there)

    def _move(self, turn: Turn, old: bytes, new: bytes) -> bytes:
        inode = 0 if turn.again else self._driver.stat(old).st_ino
        inode = int.from_bytes(turn.intend(inode.to_bytes(8, "little")), "little")
        try:
            self._driver.rename(old, new)
        except FileNotFoundError:
            if not turn.again or self._driver.stat(new).st_ino != inode:
                raise
        self._memory.move(old, new)
        return b""

    def _unlinkat(self, turn: Turn, number: int, name: bytes, flags: int) -> bytes:
        path = _child(self._fid(number).path, name)
        return self._take_away(turn, path, bool(flags & wire.AT_REMOVEDIR))

    def _remove(self, turn: Turn, number: int) -> bytes:
        path = self._fid(number).path
        try:
            directory = not turn.again and stat.S_ISDIR(self._driver.stat(path).st_mode)
            return self._take_away(turn, path, directory)
        finally:
            self._memory.drop(number)  # also if it could not be removed

    def _take_away(self, turn: Turn, path: bytes, directory: bool) -> bytes:
        if not turn.again:
            self._driver.stat(path)
        directory = turn.intend(bytes([directory])) == b"\1"
        try:
            self._driver.remove(path, directory)
        except FileNotFoundError:
            if not turn.again:
                raise
        return b""

    def _lock(self, turn: Turn, number: int, *_: Any) -> bytes:
        self._fid(number)
        return bytes([wire.LOCK_SUCCESS])

    def _getlock(
        self, turn: Turn, number: int, _kind: int, start: int, length: int, pid: int, who: bytes
    ) -> bytes:
        self._fid(number)
        where = start.to_bytes(8, "little") + length.to_bytes(8, "little")
        return bytes([wire.UNLOCKED]) + where + pid.to_bytes(4, "little") + wire.text(who)

    def _fid(self, number: int) -> Fid:
        fid = self._memory.fids.get(number)
        if fid is None:
            raise _error(errno.EBADF)
        return fid

    def _file(self, fid: Fid) -> OpenFile:
        """What a fid has open; opened once more if that was done by an earlier incarnation."""
        if not fid.is_open:
            raise _error(errno.EBADF)
        if fid.file is None:
            fid.file = self._driver.reopen(fid.path, fid.flags, fid.inode)
        return fid.file

    def _stat(self, fid: Fid) -> os.stat_result:
        return self._file(fid).stat() if fid.is_open else self._driver.stat(fid.path)

    def _check_new(self, number: int) -> None:
        if number in self._memory.fids or number == NOFID:
            raise _error(errno.EBADF)

    def _exists(self, path: bytes) -> bool:
        try:
            self._driver.stat(path)
        except FileNotFoundError:
            return False
        return True

    def _vacant(self, turn: Turn, number: int, name: bytes) -> bytes:
        """The path for something new."""
        path = _child(self._fid(number).path, name)
        if not turn.again and self._exists(path):
            raise _error(errno.EEXIST)
        return path


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _child(path: bytes, name: bytes) -> bytes:
    """Of the directory at `path`; the name is the guest's."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise _error(errno.EINVAL)
    return name if path == ROOT else path + b"/" + name


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or ROOT


def _step(path: bytes, name: bytes) -> bytes:
    """From `path` by a name of a walk; from the root `..` leads nowhere else."""
    return _above(path) if name == b".." else _child(path, name)


def _checked(flags: int) -> int:
    """Of the guest's flags those that mean something here; who appends says where."""
    if flags & os.O_ACCMODE == os.O_ACCMODE:
        raise _error(errno.EINVAL)
    return flags & (KEPT | os.O_TRUNC)


def _cookie(name: bytes) -> int:
    """More than 2, and a positive number of 63 bits."""
    return 3 + (int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 2)


def _time(valid: int, told: int, seconds: int, nanoseconds: int) -> int | None:
    if not valid:
        return None
    if not told:
        return NOW
    if nanoseconds >= SECOND:
        raise _error(errno.EINVAL)
    return (seconds - (seconds >> 63 << 64)) * SECOND + nanoseconds
