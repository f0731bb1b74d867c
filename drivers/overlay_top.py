"""The top file of an overlay, open and locked: data and the map of what is in it.

Whoever writes here puts the data first and marks it then (`mark`); whoever flushes makes the data
durable first and the map then. See overlay_format.py for why that is enough.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from drivers import holes
from drivers.interface import DriverError
from drivers.overlay_format import BOOT_AT, MAP_AT, PAGE, Header
from drivers.rawio import read_all, write_all

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Top:
    """Nobody else has it open as long as this one has, unless all only read it. Its methods raise
    OSError.
    """

    def __init__(self, path: Path, readonly: bool = False) -> None:
        """DriverError, if it is not there among others."""
        self.path = path
        self._readonly = readonly
        self._fd = _locked(path, readonly)
        try:
            self.header = _header(path, self._fd)
            self.present = self._map()
        except BaseException as error:
            os.close(self._fd)
            if isinstance(error, OSError):
                raise _cannot("used", path, error) from None
            raise

    def read(self, offset: int, into: memoryview) -> None:
        """What is at this offset of the disk, for clusters that are present."""
        read_all(self._fd, self.header.data_at + offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """The cluster need not be present yet."""
        write_all(self._fd, self.header.data_at + offset, data)

    def zero(self, offset: int, length: int, keep_space: bool) -> bool:
        """As if zeros were written; False if the host has no quick way to do it."""
        quick = holes.zero if keep_space else holes.punch
        return quick(self._fd, self.header.data_at + offset, length)

    def mark(self, first: int, count: int) -> None:
        """From now on these clusters are what was written here."""
        write_all(self._fd, MAP_AT + first, b"\1" * count)
        self.present[first : first + count] = b"\1" * count
        self._unsaved.update(range(first // PAGE, (first + count - 1) // PAGE + 1))

    def flush(self) -> None:
        """Make data durable, and then that it is here."""
        os.fdatasync(self._fd)
        if not self._unsaved:
            return
        for page in self._unsaved:
            data = memoryview(self.present)[page * PAGE : (page + 1) * PAGE]
            write_all(self._fd, self.header.durable_at + page * PAGE, data)
        os.fdatasync(self._fd)
        self._unsaved.clear()

    def write_header(self, header: Header) -> None:
        """Another one with the same sizes of disk and clusters; durable on return."""
        write_all(self._fd, 0, header.pack())
        os.fdatasync(self._fd)
        self.header = header

    def close(self) -> None:
        """Let others have it. What is not flushed stays as it is."""
        os.close(self._fd)

    def _map(self) -> bytearray:
        """The map that counts; unless this one only reads, it is that of this boot from then on."""
        present, durable = (bytearray(self.header.map_size) for _ in range(2))
        read_all(self._fd, self.header.durable_at, memoryview(durable))
        boot = _boot_id()
        if os.pread(self._fd, len(boot), BOOT_AT) == boot:
            read_all(self._fd, MAP_AT, memoryview(present))
        else:
            present[:] = durable
            if not self._readonly:
                write_all(self._fd, MAP_AT, memoryview(present))
                write_all(self._fd, BOOT_AT, boot)
        changed = present != durable and not self._readonly
        self._unsaved = {
            at // PAGE
            for at in (range(0, len(present), PAGE) if changed else ())
            if present[at : at + PAGE] != durable[at : at + PAGE]
        }
        return present


def look(path: Path, readonly: bool = False) -> Header | None:
    """The header of a file that may be in use; None if there is none, but one can be made."""
    try:
        fd = _opened(path, readonly)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise DriverError(f"folder {path.parent} does not exist: make it") from None
        return None
    except OSError as error:
        raise _cannot("opened", path, error) from None
    try:
        return _header(path, fd)
    except OSError as error:
        raise _cannot("read", path, error) from None
    finally:
        os.close(fd)


def make(path: Path, header: Header) -> None:
    """Make an empty one; it is there whole or not at all, and durable. DriverError."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, header.file_size)
            write_all(fd, BOOT_AT, _boot_id())
            write_all(fd, 0, header.pack())
            os.fsync(fd)
        finally:
            os.close(fd)
        unfinished.rename(path)
        sync_folder(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            raise _cannot("made", path, error) from None
        raise


def sync_folder(path: Path) -> None:
    """Make the name of a file durable, or that it is gone."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _opened(path: Path, readonly: bool) -> int:
    return os.open(path, _FLAGS | (os.O_RDONLY if readonly else os.O_RDWR))


def _locked(path: Path, readonly: bool) -> int:
    """A lock on what the path names; another process may have taken it away meanwhile."""
    while True:
        try:
            fd = _opened(path, readonly)
        except FileNotFoundError:
            raise DriverError(f"top {path} does not exist: name one that does") from None
        except OSError as error:
            raise _cannot("opened", path, error) from None
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if readonly else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise DriverError(
                f"top {path} is in use: stop the machine that has it, or wait for its end"
            ) from None
        except OSError as error:
            os.close(fd)
            raise _cannot("locked", path, error) from None
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)


def _header(path: Path, fd: int) -> Header:
    header = Header.unpack(os.pread(fd, PAGE, 0), f"top {path}")
    size = os.fstat(fd).st_size
    if size != header.file_size:
        raise DriverError(
            f"top {path} has {size} bytes, not {header.file_size}: it is damaged, take a copy of it"
        )
    return header


def _cannot(what: str, path: Path, error: OSError) -> DriverError:
    return DriverError(f"top {path} cannot be {what}: {error.strerror}: name another place")


def _boot_id() -> bytes:
    return _BOOT.read_bytes().strip()
