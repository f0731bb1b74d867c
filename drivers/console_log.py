"""Console output into a file, each byte exactly once however often it is written.

Every byte has its place in the file (`pwrite` at a position), so an incarnation that repeats what
the one before it may already have written changes nothing. A new device begins where the file
ends, so earlier logs stay.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import DriverError, MediumError
from drivers.rawio import write_all


class LogConsole:
    """The driver `console.log`. It gives no input."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The file; it is made if it does not exist."""

        path: Path

    positional = True

    def __init__(self, options: Options) -> None:
        path = options.path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self.origin = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise DriverError(
                f"log {path} cannot be opened for writing: {error.strerror}; "
                "name a file in a directory that exists and may be written"
            ) from None

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""
        try:
            write_all(self._fd, position, data)
        except OSError as error:
            raise MediumError(str(error)) from error

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """A log has no input."""

    def close(self) -> None:
        """See Driver."""
        os.close(self._fd)
