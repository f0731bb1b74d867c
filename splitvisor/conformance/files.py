"""The files that a driver uses, as checks look at them."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitvisor.conformance.subject import Subject

LARGEST = 256 << 20  # bytes of a file that is compared and kept whole

Look = tuple[int, int, bytes]


def look(path: Path) -> Look | None:
    """What a file is like: size, time of its last change, and bytes if there are not too many. None
    if there is none; of what is no file only that it is there.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return 0, 0, b""
    small = found.st_size <= LARGEST
    return found.st_size, found.st_mtime_ns, path.read_bytes() if small else b""


@contextmanager
def saved(subject: Subject) -> Iterator[list[Path]]:
    """The regular files that a driver claims for itself; afterwards they are as before."""
    found = [claim.path for claim in subject.claims() if claim.exclusive and _whole(claim.path)]
    copies = []
    for number, path in enumerate(found):
        copy = subject.folder / f"copy{number}"
        shutil.copyfile(path, copy)
        copies.append(copy)
    try:
        yield found
    finally:
        for path, copy in zip(found, copies, strict=True):
            with path.open("r+b") as file, copy.open("rb") as source:  # the same inode
                file.truncate(0)
                shutil.copyfileobj(source, file)
            copy.unlink()


def opened_files() -> dict[int, tuple[os.stat_result, bool, str]]:
    """By descriptor: the regular files and block devices that this process has open, whether for
    writing, and what they are called.
    """
    found = {}
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            status = os.fstat(fd)
            flags = _flags(fd)
            called = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # that of the listing itself
        if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
            found[fd] = (status, flags & os.O_ACCMODE != os.O_RDONLY, called)
    return found


def _flags(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))


def _whole(path: Path) -> bool:
    return path.is_file() and 0 < path.stat().st_size <= LARGEST
