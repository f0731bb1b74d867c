"""The guest's side of 9P2000.L, for tests: requests put together, replies taken apart."""

import errno
import itertools
import os
import struct

from service_os.models.ninep_wire import RLERROR, T

NOFID = 0xFFFFFFFF
FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def text(data):
    return struct.pack("<H", len(data)) + data


def message(kind, tag, *parts):
    """Parts are bytes as they are, or (number, size)."""
    body = b"".join(
        part if isinstance(part, bytes) else part[0].to_bytes(part[1], "little") for part in parts
    )
    return struct.pack("<IBH", 7 + len(body), kind, tag) + body


class Client:
    """Speaks by `exchange`, a function from a request to the reply; errors are OSError."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.tags = itertools.cycle(range(1, 1000))
        self.fids = itertools.count(1)

    def call(self, kind, *parts):
        tag = next(self.tags)
        reply = self.exchange(message(kind, tag, *parts))
        size, answered, echoed = struct.unpack_from("<IBH", reply)
        assert (size, echoed) == (len(reply), tag)
        if answered == RLERROR:
            number = int.from_bytes(reply[7:], "little")
            raise OSError(number, os.strerror(number))
        assert answered == kind + 1
        return reply[7:]

    def mount(self, msize=65536):
        body = self.call(T.VERSION, (msize, 4), text(b"9P2000.L"))
        assert body[4:] == text(b"9P2000.L")
        self.call(T.ATTACH, (0, 4), (NOFID, 4), text(b"root"), text(b""), (0, 4))
        return int.from_bytes(body[:4], "little")

    def walk(self, *names, start=0, fid=None):
        """A new fid there, or OSError also if only some of the names were walked."""
        fid = next(self.fids) if fid is None else fid
        words = b"".join(map(text, names))
        body = self.call(T.WALK, (start, 4), (fid, 4), (len(names), 2), words)
        if int.from_bytes(body[:2], "little") < len(names):
            raise FileNotFoundError(errno.ENOENT, "not there", names)
        return fid

    def open(self, *names, flags=os.O_RDONLY, start=0):
        fid = self.walk(*names, start=start)
        self.call(T.LOPEN, (fid, 4), (flags, 4))
        return fid

    def create(self, name, flags=os.O_RDWR, mode=0o644, start=0):
        fid = self.walk(start=start)
        self.call(T.LCREATE, (fid, 4), text(name), (flags, 4), (mode, 4), (0, 4))
        return fid

    def read(self, fid, count=1000, offset=0):
        body = self.call(T.READ, (fid, 4), (offset, 8), (count, 4))
        assert int.from_bytes(body[:4], "little") == len(body) - 4
        return body[4:]

    def write(self, fid, data, offset=0):
        body = self.call(T.WRITE, (fid, 4), (offset, 8), (len(data), 4), data)
        return int.from_bytes(body, "little")

    def clunk(self, fid):
        self.call(T.CLUNK, (fid, 4))

    def mkdir(self, name, mode=0o755, start=0):
        self.call(T.MKDIR, (start, 4), text(name), (mode, 4), (0, 4))

    def symlink(self, name, target, start=0):
        self.call(T.SYMLINK, (start, 4), text(name), text(target), (0, 4))

    def link(self, name, fid, start=0):
        self.call(T.LINK, (start, 4), (fid, 4), text(name))

    def mknod(self, name, mode, start=0):
        self.call(T.MKNOD, (start, 4), text(name), (mode, 4), (1, 4), (3, 4), (0, 4))

    def readlink(self, *names):
        body = self.call(T.READLINK, (self.walk(*names), 4))
        return body[2:]

    def rename(self, old, new, start=0, to=0):
        self.call(T.RENAMEAT, (start, 4), text(old), (to, 4), text(new))

    def unlink(self, name, flags=0, start=0):
        self.call(T.UNLINKAT, (start, 4), text(name), (flags, 4))

    def remove(self, fid):
        self.call(T.REMOVE, (fid, 4))

    def getattr(self, fid):
        """Mode, uid, gid, size, modification time in nanoseconds, and inode."""
        body = self.call(T.GETATTR, (fid, 4), (0x7FF, 8))
        fields = struct.unpack("<QBIQIII15Q", body)
        assert fields[0] == 0x7FF
        mode, uid, gid, _nlink, _rdev, size = fields[4:10]
        seconds, nanoseconds = fields[14:16]
        return mode, uid, gid, size, seconds * 1_000_000_000 + nanoseconds, fields[3]

    def setattr(self, fid, valid, mode=0, uid=0, gid=0, size=0, atime=(0, 0), mtime=(0, 0)):
        times = [(part, 8) for part in (*atime, *mtime)]
        head = [(part, 4) for part in (fid, valid, mode, uid, gid)]
        self.call(T.SETATTR, *head, (size, 8), *times)

    def readdir(self, fid, offset=0, count=4096):
        """Entries of one reply: name, cookie, type, inode."""
        body = self.call(T.READDIR, (fid, 4), (offset, 8), (count, 4))
        assert int.from_bytes(body[:4], "little") == len(body) - 4
        at, found = 4, []
        while at < len(body):
            _, _, inode, cookie, kind, length = struct.unpack_from("<BIQQBH", body, at)
            at += 24
            found.append((body[at : at + length], cookie, kind, inode))
            at += length
        return found

    def list(self, fid, count=4096):
        """All names but `.` and `..`."""
        names, offset = [], 0
        while found := self.readdir(fid, offset, count):
            names += [entry[0] for entry in found]
            offset = found[-1][1]
        assert sorted(names)[:2] == [b".", b".."] or {b".", b".."} <= set(names)
        return sorted(set(names) - {b".", b".."})
