"""What each request of 9P2000.L does: fids to paths, and one call of the driver's.

Executing one twice must be executing it once. What only reads, or sets something to a value, is
just done again; what is not so simple stands in ninep_changes.py.

Locks are granted without being taken: the guest's kernel keeps its own, and nobody else's are
looked at. There are no extended attributes, no devices to be made, and no authentication.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from drivers.folders import NOW, Change, FolderDriver, OpenFile
from service_os.models import ninep_wire as wire
from service_os.models.ninep_changes import Changes
from service_os.models.ninep_fids import Fid, Memory
from service_os.models.ninep_listings import Listings
from service_os.models.ninep_turn import ROOT, Turn, checked, error, fid_of, step
from service_os.models.ninep_wire import T

VERSION = b"9P2000.L"
MIN_MSIZE = 4096
NOFID = 0xFFFFFFFF
NOBODY = 65534
MAX_OFFSET = (1 << 63) - 1
SECOND = 1_000_000_000

# Of Tsetattr, which fields are valid.
A_MODE, A_UID, A_GID, A_SIZE, A_ATIME, A_MTIME = (1 << i for i in range(6))
A_ATIME_SET, A_MTIME_SET = 1 << 7, 1 << 8


class Operations:
    """Requests on one driver and what is remembered of it; what fails raises OSError."""

    def __init__(self, driver: FolderDriver, memory: Memory, msize: int) -> None:
        self._driver = driver
        self._memory = memory
        self._msize = msize
        self._listings = Listings(driver)
        self._changes = changes = Changes(driver, memory)
        self._handlers: dict[int, Callable[..., bytes]] = {
            T.STATFS: self._statfs,
            T.LOPEN: self._lopen,
            T.LCREATE: changes.lcreate,
            T.SYMLINK: changes.symlink,
            T.MKNOD: changes.mknod,
            T.RENAME: changes.rename,
            T.READLINK: self._readlink,
            T.GETATTR: self._getattr,
            T.SETATTR: self._setattr,
            T.READDIR: self._readdir,
            T.FSYNC: self._fsync,
            T.LOCK: self._lock,
            T.GETLOCK: self._getlock,
            T.LINK: changes.link,
            T.MKDIR: changes.mkdir,
            T.RENAMEAT: changes.renameat,
            T.UNLINKAT: changes.unlinkat,
            T.ATTACH: self._attach,
            T.FLUSH: lambda turn, tag: b"",  # what came before it is answered already
            T.WALK: self._walk,
            T.WRITE: self._write,
            T.CLUNK: self._clunk,
            T.REMOVE: changes.remove,
        }

    def body(self, call: wire.Call, turn: Turn) -> bytes:
        """Of the reply; Exhausted for more fids than are kept."""
        if call.kind == T.VERSION:
            return self._version(*call.fields)
        if not self._memory.msize:
            raise error(errno.EPROTO)
        handler = self._handlers.get(call.kind)
        if handler is None:
            raise error(errno.EOPNOTSUPP)
        return handler(turn, *call.fields)

    def read(self, fields: tuple[Any, ...], into: memoryview) -> int:
        """Tread: how many bytes of `into`."""
        number, offset, count = fields
        if offset + count > MAX_OFFSET:
            raise error(errno.EINVAL)
        return self._file(fid_of(self._memory, number)).read(offset, into[:count])

    def _version(self, msize: int, version: bytes) -> bytes:
        if msize < MIN_MSIZE:
            raise error(errno.EMSGSIZE)
        msize = min(msize, self._msize)
        known = version == VERSION
        self._memory.begin_session(msize if known else 0)
        return msize.to_bytes(4, "little") + wire.text(VERSION if known else b"unknown")

    def _attach(
        self, turn: Turn, number: int, afid: int, _user: bytes, tree: bytes, *_: int
    ) -> bytes:
        if afid != NOFID:
            raise error(errno.EOPNOTSUPP)
        if tree not in (b"", b"/"):
            raise error(errno.ENOENT)
        self._check_new(number)
        found = self._driver.stat(ROOT)
        self._memory.check_room(ROOT)
        self._memory.put(number, Fid(ROOT))
        return wire.qid(found)

    def _walk(self, turn: Turn, number: int, new: int, names: tuple[bytes, ...]) -> bytes:
        fid = fid_of(self._memory, number)
        if new != number:
            self._check_new(new)
        elif fid.is_open:
            raise error(errno.EBADF)
        path, found = fid.path, b""
        for i, name in enumerate(names):
            try:
                path = step(path, name)
                found += wire.qid(self._driver.stat(path))
            except OSError:
                if not i:
                    raise
                return i.to_bytes(2, "little") + found
        self._memory.check_room(path)
        self._memory.put(new, Fid(path))
        return len(names).to_bytes(2, "little") + found

    def _clunk(self, turn: Turn, number: int) -> bytes:
        fid_of(self._memory, number)
        self._memory.drop(number)
        return b""

    def _statfs(self, turn: Turn, number: int) -> bytes:
        fid_of(self._memory, number)
        return wire.space(self._driver.space())

    def _getattr(self, turn: Turn, number: int, _wanted: int) -> bytes:
        found = self._stat(fid_of(self._memory, number))
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
        fid = fid_of(self._memory, number)
        if (valid & A_UID and uid) or (valid & A_GID and gid):
            raise error(errno.EPERM)  # all that is made here belongs to the guest's root
        if valid & A_SIZE and size > MAX_OFFSET:
            raise error(errno.EINVAL)
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
        fid = fid_of(self._memory, number)
        if fid.is_open:
            raise error(errno.EBADF)
        flags = checked(flags)
        self._memory.check_room_to_open()
        file = self._driver.open(fid.path, flags)
        return self._changes.opened(number, fid.path, flags, file)

    def _write(self, turn: Turn, number: int, offset: int, data: memoryview) -> bytes:
        if offset + len(data) > MAX_OFFSET:
            raise error(errno.EFBIG)
        count = self._file(fid_of(self._memory, number)).write(offset, data)
        return count.to_bytes(4, "little")

    def _fsync(self, turn: Turn, number: int, data_only: int) -> bytes:
        self._file(fid_of(self._memory, number)).sync(bool(data_only))
        return b""

    def _readdir(self, turn: Turn, number: int, offset: int, count: int) -> bytes:
        fid = fid_of(self._memory, number)
        file = self._file(fid)
        told = self._listings.piece(fid, file, offset, min(count, turn.room - wire.IO_HEADER))
        return len(told).to_bytes(4, "little") + told

    def _readlink(self, turn: Turn, number: int) -> bytes:
        return wire.text(self._driver.read_symlink(fid_of(self._memory, number).path))

    def _lock(self, turn: Turn, number: int, *_: Any) -> bytes:
        fid_of(self._memory, number)
        return bytes([wire.LOCK_SUCCESS])

    def _getlock(
        self, turn: Turn, number: int, _kind: int, start: int, length: int, pid: int, who: bytes
    ) -> bytes:
        fid_of(self._memory, number)
        where = start.to_bytes(8, "little") + length.to_bytes(8, "little")
        return bytes([wire.UNLOCKED]) + where + pid.to_bytes(4, "little") + wire.text(who)

    def _file(self, fid: Fid) -> OpenFile:
        """What a fid has open; opened once more if that was done by an earlier incarnation."""
        if not fid.is_open:
            raise error(errno.EBADF)
        if fid.file is None:
            fid.file = self._driver.reopen(fid.path, fid.flags, fid.inode)
        return fid.file

    def _stat(self, fid: Fid) -> os.stat_result:
        return self._file(fid).stat() if fid.is_open else self._driver.stat(fid.path)

    def _check_new(self, number: int) -> None:
        if number in self._memory.fids or number == NOFID:
            raise error(errno.EBADF)


def _time(valid: int, told: int, seconds: int, nanoseconds: int) -> int | None:
    if not valid:
        return None
    if not told:
        return NOW
    if nanoseconds >= SECOND:
        raise error(errno.EINVAL)
    return (seconds - (seconds >> 63 << 64)) * SECOND + nanoseconds
