"""What can be done with the top file of an overlay while no machine has it.

To commit is to copy what is in the top into the base; the top goes last, so that one who is killed
in the middle can do it again, and until then finds the same disk as before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivers.block_overlay import fits
from drivers.filter import abilities_of, begin
from drivers.interface import Ability, DriverError
from drivers.overlay_format import Header, kept
from drivers.overlay_top import Top, sync_folder


@dataclass(frozen=True, slots=True)
class Info:
    """What is in a top file."""

    header: Header
    present: int  # clusters


def info(path: Path) -> Info:
    """DriverError if it is none, or in use."""
    top = Top(path)
    try:
        return Info(top.header, top.present.count(1))
    finally:
        top.close()


def commit(
    path: Path, base: Any, word: str, progress: Callable[[int, int], None] = lambda *_: None
) -> int:
    """Copy the top into `base`, an open driver for a content of this word, and take the top away.

    `progress` hears how many clusters of how many are done; their number comes back. DriverError if
    the two do not belong together, MediumError or OSError if the copying fails; then all is left.
    """
    top = Top(path)
    try:
        _may_commit(top.header, path, base, word)
        begin(base)
        count = top.present.count(1)
        cluster = -1
        for done in range(count):
            cluster = top.present.index(1, cluster + 1)
            _copy(top, cluster, base)
            progress(done + 1, count)
        base.flush()
        _remove(path)
        return count
    finally:
        top.close()


def discard(path: Path) -> int:
    """Take the top away, with all that was written to it: so many clusters."""
    top = Top(path)
    try:
        count = top.present.count(1)
        _remove(path)
        return count
    finally:
        top.close()


def rebase(path: Path, word: str, size: int) -> None:
    """Have the top believe that this is its base. DriverError if the base is too large."""
    top = Top(path)
    try:
        if size > top.header.size:
            raise DriverError(
                f"top {path} is of a disk of {top.header.size} bytes, and the base has {size}: "
                "name the right base"
            )
        top.write_header(replace(top.header, base=kept(word), base_size=size))
    finally:
        top.close()


def _may_commit(header: Header, path: Path, base: Any, word: str) -> None:
    if base.readonly:
        raise DriverError(f"the base of {path} is read-only: leave readonly out")
    if base.size < header.size:
        raise DriverError(
            f"the base of {path} has {base.size} bytes, and the disk over it {header.size}: "
            f"make the base so large first, as 'truncate -s {header.size}' does"
        )
    # It was made larger for this, which the header cannot know.
    larger = base.size == header.size
    fits(header, f"top {path}", kept(word), header.base_size if larger else base.size)


def _copy(top: Top, cluster: int, base: Any) -> None:
    start = cluster * top.header.cluster
    data = bytearray(min(top.header.cluster, top.header.size - start))
    top.read(start, memoryview(data))
    if Ability.WRITE_ZEROES in abilities_of(base) and data.count(0) == len(data):
        base.write_zeroes(start, len(data), unmap=True)
    else:
        base.write(start, memoryview(data))


def _remove(path: Path) -> None:
    path.unlink()
    sync_folder(path)
