"""What cannot be done twice: requests of 9P2000.L that make, move or take away a name.

Each looks first, and then says what it is about to do (`Turn.intend`). If that was said by an
incarnation that died before it answered (`Turn.again`), what would have changed counts as changed
by it: a name that is there by now as made, one that is gone as taken away.
"""

import errno
import os
import stat

from drivers.folders import Change, FolderDriver, OpenFile
from service_os.models import ninep_wire as wire
from service_os.models.ninep_fids import Fid, Memory
from service_os.models.ninep_turn import KEPT, Turn, checked, child, error, fid_of


class Changes:
    """Such requests on one driver; what fails raises OSError."""

    def __init__(self, driver: FolderDriver, memory: Memory) -> None:
        self._driver = driver
        self._memory = memory

    def lcreate(
        self, turn: Turn, number: int, name: bytes, flags: int, mode: int, _gid: int
    ) -> bytes:
        """Tlcreate: make a file, if it is not there, and open it."""
        fid = fid_of(self._memory, number)
        if fid.is_open:
            raise error(errno.EBADF)
        path = child(fid.path, name)
        exclusive = flags & os.O_EXCL
        flags = checked(flags)
        self._memory.check_room_to_open()
        if not turn.again and self._exists(path):
            if exclusive:
                raise error(errno.EEXIST)
            return self.opened(number, path, flags, self._driver.open(path, flags))
        turn.intend()
        try:
            file = self._driver.create(path, flags, mode)
        except FileExistsError:
            if turn.again:
                file = self._driver.reopen(path, flags, self._driver.stat(path).st_ino)
                try:
                    file.change(Change(mode=mode & 0o7777))
                except OSError:
                    file.close()
                    raise
            elif exclusive:
                raise
            else:
                file = self._driver.open(path, flags)  # somebody else made it just now
        return self.opened(number, path, flags, file)

    def opened(self, number: int, path: bytes, flags: int, file: OpenFile) -> bytes:
        """The body of the reply for a fid that has been opened."""
        found = file.stat()
        self._memory.put(number, Fid(path, flags & KEPT, found.st_ino, file))
        return wire.qid(found) + bytes(4)  # the most in one request: as much as a message holds

    def mkdir(self, turn: Turn, number: int, name: bytes, mode: int, _gid: int) -> bytes:
        """Tmkdir."""
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.make_directory(path, mode)
        except FileExistsError:
            if not turn.again:
                raise
            self._driver.change(path, Change(mode=mode & 0o7777))
        return wire.qid(self._driver.stat(path))

    def symlink(self, turn: Turn, number: int, name: bytes, target: bytes, _gid: int) -> bytes:
        """Tsymlink."""
        if b"\0" in target:
            raise error(errno.EINVAL)
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.make_symlink(path, target)
        except FileExistsError:
            if not turn.again:
                raise
        return wire.qid(self._driver.stat(path))

    def link(self, turn: Turn, directory: int, number: int, name: bytes) -> bytes:
        """Tlink."""
        existing = fid_of(self._memory, number).path
        path = self._vacant(turn, directory, name)
        turn.intend()
        try:
            self._driver.make_link(path, existing)
        except FileExistsError:
            if not turn.again:
                raise
        return b""

    def mknod(
        self, turn: Turn, number: int, name: bytes, mode: int, _major: int, _minor: int, _gid: int
    ) -> bytes:
        """Tmknod, for files alone."""
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise error(errno.EPERM)
        path = self._vacant(turn, number, name)
        turn.intend()
        try:
            self._driver.create(path, os.O_RDONLY, mode).close()
        except FileExistsError:
            if not turn.again:
                raise
            self._driver.change(path, Change(mode=mode & 0o7777))
        return wire.qid(self._driver.stat(path))

    def rename(self, turn: Turn, number: int, directory: int, name: bytes) -> bytes:
        """Trename."""
        return self._move(
            turn,
            fid_of(self._memory, number).path,
            child(fid_of(self._memory, directory).path, name),
        )

    def renameat(self, turn: Turn, old: int, name: bytes, new: int, new_name: bytes) -> bytes:
        """Trenameat."""
        there = child(fid_of(self._memory, new).path, new_name)
        return self._move(turn, child(fid_of(self._memory, old).path, name), there)

    def _move(self, turn: Turn, old: bytes, new: bytes) -> bytes:
        self._memory.check_room_to_move(old, new)
        inode = 0 if turn.again else self._driver.stat(old).st_ino
        inode = int.from_bytes(turn.intend(inode.to_bytes(8, "little")), "little")
        try:
            self._driver.rename(old, new)
        except FileNotFoundError:
            if not turn.again or self._driver.stat(new).st_ino != inode:
                raise
        self._memory.move(old, new)
        return b""

    def unlinkat(self, turn: Turn, number: int, name: bytes, flags: int) -> bytes:
        """Tunlinkat."""
        path = child(fid_of(self._memory, number).path, name)
        return self._take_away(turn, path, bool(flags & wire.AT_REMOVEDIR))

    def remove(self, turn: Turn, number: int) -> bytes:
        """Tremove."""
        path = fid_of(self._memory, number).path
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

    def _exists(self, path: bytes) -> bool:
        try:
            self._driver.stat(path)
        except FileNotFoundError:
            return False
        return True

    def _vacant(self, turn: Turn, number: int, name: bytes) -> bytes:
        """The path for something new."""
        path = child(fid_of(self._memory, number).path, name)
        if not turn.again and self._exists(path):
            raise error(errno.EEXIST)
        return path
