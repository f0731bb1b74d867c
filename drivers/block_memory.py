"""A disk that lives as long as the machine, and not longer.

The memory of this process would be the obvious place, and the wrong one: it dies with the process,
and a guest must not lose a completed write to that. So the bytes are in a file in the machine's
run directory (a tmpfs on most hosts, which is memory), which every incarnation finds again and
which goes away with that directory. Space is taken as the guest writes.
"""

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

from drivers import holes
from drivers.interface import Ability, Claim, DriverError, Keep
from drivers.options import Size
from drivers.rawio import medium_error, read_all, write_all
from drivers.zeros import write_zeros

SECTOR = 512
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class MemoryBlock:
    """The driver `block.memory`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """How large it is; and a name, if there is another in the same stack."""

        size: Size
        keep: Keep
        name: str = ""

        def __post_init__(self) -> None:
            if self.size <= 0 or self.size % SECTOR:
                raise ValueError(f"size {self.size} is not a positive multiple of {SECTOR}")
            if self.name and not _NAME.fullmatch(self.name):
                raise ValueError(f"name {self.name!r}: use at most 32 of A-Z a-z 0-9 _ -")

    readonly = False
    identity = "memory"
    abilities = Ability.DISCARD | Ability.WRITE_ZEROES
    block_size = mmap.PAGESIZE

    @staticmethod
    def claims(options: Options) -> tuple[Claim]:
        """See Claiming: two of them in one stack would be one disk."""
        return (Claim(_path(options), exclusive=True),)

    @staticmethod
    def content(options: Options) -> str:
        """See Identified."""
        return f"memory {_path(options)}"

    def __init__(self, options: Options) -> None:
        self.size = int(options.size)
        path = _path(options)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DriverError(f"memory disk {path} cannot be made: {error.strerror}") from None
        held = os.fstat(self._fd).st_size
        try:
            if held not in (0, self.size):
                raise DriverError(
                    f"memory disk {path} already has {held} bytes, not {self.size}: "
                    "keep its size while the machine runs"
                )
            if not held:
                os.ftruncate(self._fd, self.size)
        except OSError as error:
            os.close(self._fd)
            raise DriverError(
                f"memory disk {path} cannot have {self.size} bytes: {error.strerror}; "
                "make it smaller"
            ) from None
        except DriverError:
            os.close(self._fd)
            raise

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        read_all(self._fd, offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        try:
            write_all(self._fd, offset, data)
        except OSError as error:
            raise medium_error(error) from error

    def flush(self) -> None:
        """Nothing: no part of it is promised to survive the loss of power."""

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        try:
            holes.punch(self._fd, offset, length)
        except OSError as error:
            raise medium_error(error) from error

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        try:
            done = holes.punch(self._fd, offset, length) if unmap else False
        except OSError as error:
            raise medium_error(error) from error
        if not done:
            write_zeros(self.write, offset, length)

    def close(self) -> None:
        """See Driver."""
        os.close(self._fd)


def _path(options: MemoryBlock.Options) -> Path:
    """Two disks of one stack have two names."""
    path = options.keep.path
    return path.with_name(f"{path.name}:{options.name}") if options.name else path
