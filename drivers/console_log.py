"""Console output into a file, each byte exactly once however often it is written.

Every byte has its place in the file (`pwrite` at a position), so an incarnation that repeats what
the one before it may already have written changes nothing. A new device begins where the
file then ends: logs append, so what earlier machines put out stays until somebody removes the file.
With `rotate=10M` it does not grow for ever: see drivers/rotation.py.

Only files keep their bytes at positions, so pipes and the like are refused, and at once: opening
never waits for a reader. Character devices (/dev/null) are let through, for they take anything.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import Claim, DriverError
from drivers.options import Size
from drivers.rawio import medium_error, write_all
from drivers.rotation import Rotation

SMALLEST = 4096  # bytes of a log that is rotated

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFBLK: "a block device",
}


class LogConsole:
    """The driver `console.log`. It gives no input."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The file; it is made if it does not exist, and appended to if it does. With `rotate` it
        has so many bytes at most, and `keep` full ones before it are left.
        """

        path: Path
        rotate: Size | None = None
        keep: int = 3

        def __post_init__(self) -> None:
            if self.rotate is not None and self.rotate < SMALLEST:
                raise ValueError(f"a log of {self.rotate} bytes is too small: rotate=4K at least")
            if self.keep < 1:
                raise ValueError("the last full log is what tells how many there were: keep=1")

    positional = True

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=True),)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path = options.path
        self._fd = _opened(options.path)
        self._rotation: Rotation | None = None
        self.origin = 0
        if options.rotate and not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise DriverError(f"log {self._path} is no file, which rotate=... wants: name a file")

    def begin(self) -> None:
        """See Beginning: until now another incarnation may have appended."""
        options = self._options
        try:
            if options.rotate:
                self._rotation = Rotation(self._path, options.rotate, options.keep)
                self.origin = self._rotation.end
            else:
                self.origin = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise DriverError(_cannot_open(self._path, error)) from None

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        if self._rotation:
            self._rotation.write(memoryview(data), position)
            return
        try:
            write_all(self._fd, position, data)
        except OSError as error:
            raise medium_error(error) from error

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """A log has no input."""

    def close(self) -> None:
        """See Driver."""
        os.close(self._fd)
        if self._rotation:
            self._rotation.close()


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):  # ENXIO: a FIFO that nobody reads, a socket
            raise DriverError(_no_file(path, path.stat().st_mode)) from None
        raise DriverError(_cannot_open(path, error)) from None
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        os.close(fd)
        raise DriverError(_no_file(path, mode))
    os.set_blocking(fd, True)
    return fd


def _no_file(path: Path, mode: int) -> str:
    kind = _KINDS.get(stat.S_IFMT(mode), "no file")
    return f"log {path} is {kind}: name a file, which is made if it does not exist"


def _cannot_open(path: Path, error: OSError) -> str:
    return (
        f"log {path} cannot be opened for writing: {error.strerror}; "
        "name a file in a directory that exists and may be written"
    )
