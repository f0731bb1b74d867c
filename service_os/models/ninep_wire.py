"""9P2000.L on the wire: requests taken apart, replies put together; nothing is done here.

A message is its size (4 bytes), its type, a tag (2), and fields; integers are little-endian, a text
is its length (2) and its bytes. The guest is not trusted: whatever does not fit raises Malformed.

Names and numbers are those of the protocol as Linux speaks it (include/net/9p/9p.h there).
"""

import os
import stat
import struct
from enum import IntEnum
from typing import Any, NamedTuple

HEADER = struct.Struct("<IBH")
ERROR = struct.Struct("<IBHI")  # Rlerror as a whole, the shortest reply that says something
QID = struct.Struct("<BIQ")
ATTRIBUTES = struct.Struct("<Q13sIII15Q")  # the body of Rgetattr
SPACE = struct.Struct("<IIQQQQQQI")  # the body of Rstatfs
ENTRY = struct.Struct("<13sQBH")  # of Rreaddir; the name follows

RLERROR = 7
NOTAG = 0xFFFF
MAX_WALK = 16  # names in a Twalk
IO_HEADER = HEADER.size + 4  # before the data of Rread and Rreaddir

QT_DIRECTORY, QT_SYMLINK, QT_FILE = 0x80, 0x02, 0x00
MAGIC = 0x01021997  # of the file system, in Rstatfs
BASIC = 0x7FF  # of Tgetattr: all that stat(2) tells
AT_REMOVEDIR = 0x200
LOCK_SUCCESS, UNLOCKED = 0, 2


class T(IntEnum):
    """Requests; the reply to each is one more."""

    STATFS = 8
    LOPEN = 12
    LCREATE = 14
    SYMLINK = 16
    MKNOD = 18
    RENAME = 20
    READLINK = 22
    GETATTR = 24
    SETATTR = 26
    XATTRWALK = 30
    XATTRCREATE = 32
    READDIR = 40
    FSYNC = 50
    LOCK = 52
    GETLOCK = 54
    LINK = 70
    MKDIR = 72
    RENAMEAT = 74
    UNLINKAT = 76
    VERSION = 100
    AUTH = 102
    ATTACH = 104
    FLUSH = 108
    WALK = 110
    READ = 116
    WRITE = 118
    CLUNK = 120
    REMOVE = 122


# The fields of each: numbers of b 1, h 2, w 4, q 8 bytes; s a text, n a list of them, d data.
_FIELDS = {
    T.STATFS: "w",
    T.LOPEN: "ww",
    T.LCREATE: "wswww",
    T.SYMLINK: "wssw",
    T.MKNOD: "wswwww",
    T.RENAME: "wws",
    T.READLINK: "w",
    T.GETATTR: "wq",
    T.SETATTR: "wwwwwqqqqq",
    T.XATTRWALK: "wws",
    T.XATTRCREATE: "wsqw",
    T.READDIR: "wqw",
    T.FSYNC: "ww",
    T.LOCK: "wbwqqws",
    T.GETLOCK: "wbqqws",
    T.LINK: "wws",
    T.MKDIR: "wsww",
    T.RENAMEAT: "wsws",
    T.UNLINKAT: "wsw",
    T.VERSION: "ws",
    T.AUTH: "wssw",
    T.ATTACH: "wwssw",
    T.FLUSH: "h",
    T.WALK: "wwn",
    T.READ: "wqw",
    T.WRITE: "wqd",
    T.CLUNK: "w",
    T.REMOVE: "w",
}
_NUMBERS = {"b": 1, "h": 2, "w": 4, "q": 8}


class Malformed(Exception):
    """No request of 9P2000.L; `tag` is the request's as far as it could be read."""

    def __init__(self, what: str, tag: int = NOTAG) -> None:
        super().__init__(what)
        self.tag = tag


class Call(NamedTuple):
    """A request; `kind` may be of a type that is not known, and has no fields then."""

    kind: int
    tag: int
    fields: tuple[Any, ...]


def parse(message: memoryview) -> Call:
    """The request in `message`; data in it stays where it is. Malformed if it is none."""
    if len(message) < HEADER.size:
        raise Malformed(f"a message of {len(message)} bytes")
    size, kind, tag = HEADER.unpack_from(message)
    if not HEADER.size <= size <= len(message):
        raise Malformed(f"{size} bytes announced and {len(message)} sent", tag)
    if kind not in _FIELDS:
        return Call(kind, tag, ())
    taken = _Taken(message[HEADER.size : size], tag)
    fields = tuple(taken.field(code) for code in _FIELDS[T(kind)])
    return Call(kind, tag, fields)


class _Taken:
    """What is left of a message."""

    def __init__(self, rest: memoryview, tag: int) -> None:
        self._rest = rest
        self._tag = tag

    def field(self, code: str) -> Any:
        if code == "s":
            return bytes(self._bytes(self._number(2)))
        if code == "d":
            return self._bytes(self._number(4))
        if code == "n":
            count = self._number(2)
            if count > MAX_WALK:
                raise Malformed(f"{count} names in one walk", self._tag)
            return tuple(bytes(self._bytes(self._number(2))) for _ in range(count))
        return self._number(_NUMBERS[code])

    def _number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "little")

    def _bytes(self, size: int) -> memoryview:
        if size > len(self._rest):
            raise Malformed("a field reaches beyond the end of its message", self._tag)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def reply(kind: int, tag: int, body: bytes) -> bytes:
    """The whole reply to a request of this kind."""
    return HEADER.pack(HEADER.size + len(body), kind + 1, tag) + body


def error(tag: int, number: int) -> bytes:
    """The reply to a request that failed, by a Linux error number."""
    return ERROR.pack(ERROR.size, RLERROR, tag, number)


def text(data: bytes) -> bytes:
    """A text as a field."""
    return len(data).to_bytes(2, "little") + data


def qid(found: os.stat_result) -> bytes:
    """What a file is and which; the version changes when its contents do."""
    version = (found.st_mtime_ns ^ found.st_size << 8) & 0xFFFFFFFF
    return QID.pack(_qid_type(found.st_mode), version, found.st_ino)


def attributes(found: os.stat_result, uid: int, gid: int) -> bytes:
    """The body of Rgetattr; the owner as the guest is to see it."""
    times = (
        part
        for ns in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
        for part in (ns // 1_000_000_000 & 0xFFFFFFFFFFFFFFFF, ns % 1_000_000_000)
    )
    sizes = (found.st_nlink, found.st_rdev, found.st_size, found.st_blksize, found.st_blocks)
    return ATTRIBUTES.pack(BASIC, qid(found), found.st_mode, uid, gid, *sizes, *times, 0, 0, 0, 0)


def space(found: os.statvfs_result) -> bytes:
    """The body of Rstatfs."""
    blocks = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
    return SPACE.pack(MAGIC, found.f_frsize or found.f_bsize, *blocks, 0, found.f_namemax)


def entry(name: bytes, inode: int, mode: int, cookie: int) -> bytes:
    """One of Rreaddir: `mode` has the type alone, `cookie` is where the next one begins."""
    identity = QID.pack(_qid_type(mode), 0, inode)
    return ENTRY.pack(identity, cookie, stat.S_IFMT(mode) >> 12, len(name)) + name


def _qid_type(mode: int) -> int:
    if stat.S_ISDIR(mode):
        return QT_DIRECTORY
    return QT_SYMLINK if stat.S_ISLNK(mode) else QT_FILE
