"""A disk whose writes go to a file of its own, over another disk that stays as it is.

Many guests may so start from one image, or a change be tried and then kept (`splitvisor overlay
commit`) or dropped. The disk is divided into clusters: one that was written to is in the top file
from then on, whole, and the others are read from the base.

What was discarded in the top reads as zeros, and what is only in the base stays. A cluster that is
in the top never leaves it, so that no old data of the base comes up again.

With `readonly` its top is not written to either: it may then be the base of other overlays.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers import overlay_top
from drivers.filter import begin, block_size_of, patience_of
from drivers.interface import Ability, Child, Claim, DriverError
from drivers.options import Size
from drivers.overlay_format import LARGEST, SMALLEST, Header, kept
from drivers.overlay_top import Top
from drivers.rawio import medium_error
from drivers.zeros import write_zeros

SECTOR = 512
IDENTITY_LENGTH = 20


class OverlayBlock:
    """The driver `block.overlay`. The top file is made, locked and read from `begin` on."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """The base, the top file, and for a new one how large the disk and its clusters are."""

        base: Child
        path: Path
        size: Size = Size(0)  # 0: as the top file has it, or the base
        cluster: Size = Size(1 << 16)
        readonly: bool = False

        def __post_init__(self) -> None:
            if self.size % SECTOR:
                raise ValueError(f"size {self.size} is not a multiple of {SECTOR}")
            if self.cluster & (self.cluster - 1) or not SMALLEST <= self.cluster <= LARGEST:
                raise ValueError(f"cluster {self.cluster} is not a power of two from 4K to 2M")

    @staticmethod
    def claims(options: Options) -> Sequence[Claim]:
        """See Claiming."""
        return (Claim(options.path, exclusive=not options.readonly), *options.base.claims())

    @staticmethod
    def content(options: Options) -> str:
        """See Identified. The path stands for a file that may not be there yet."""
        below = options.base.content()
        return f"overlay({os.path.realpath(options.path)},{below})" if below else ""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.readonly = options.readonly
        self._base = options.base.open()
        self._top: Top | None = None
        try:
            if not self._base.readonly:
                raise DriverError(
                    f"the base of {options.path} may be written to: name one that may not, as "
                    "base=(file:path=a.img,readonly)"
                )
            self._header = self._expected()
        except BaseException:
            self._base.close()
            raise
        self.size = self._header.size
        self.identity = options.path.name.encode("ascii", "replace").decode()[:IDENTITY_LENGTH]
        both = Ability.DISCARD | Ability.WRITE_ZEROES
        self.abilities = Ability.NONE if self.readonly else both
        self.block_size = block_size_of(self._base)
        self.patience = patience_of(self._base)

    def begin(self) -> None:
        """See Beginning: another incarnation may have made the top file, or filled it."""
        begin(self._base)
        path = self._options.path
        if overlay_top.look(path, self.readonly) is None:
            overlay_top.make(path, self._expected())
        self._header = self._expected()
        self._top = Top(path, self.readonly)
        self.size = self._header.size

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        top = self._open()
        try:
            for start, stop, present in self._runs(offset, len(into)):
                part = into[start - offset : stop - offset]
                if present:
                    top.read(start, part)
                else:
                    self._below(start, part)
        except OSError as error:
            raise medium_error(error) from error

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        top = self._open()
        try:
            for start, stop, present in self._runs(offset, len(data)):
                if not present:
                    self._copy_up(start, stop)
                top.write(start, data[start - offset : stop - offset])
                if not present:
                    self._mark(start, stop)
        except OSError as error:
            raise medium_error(error) from error

    def flush(self) -> None:
        """See BlockDriver."""
        try:
            self._open().flush()
        except OSError as error:
            raise medium_error(error) from error

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        top = self._open()
        try:
            for start, stop, present in self._runs(offset, length):
                if present:
                    top.zero(start, stop - start, keep_space=False)
        except OSError as error:
            raise medium_error(error) from error

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        top = self._open()
        try:
            for start, stop, present in self._runs(offset, length):
                if not present:
                    self._copy_up(start, stop)
                if not top.zero(start, stop - start, keep_space=not unmap):
                    write_zeros(top.write, start, stop - start)
                if not present:
                    self._mark(start, stop)
        except OSError as error:
            raise medium_error(error) from error

    def close(self) -> None:
        """See Driver."""
        try:
            if self._top is not None:
                self._top.close()
        finally:
            self._base.close()

    def _open(self) -> Top:
        if self._top is None:
            raise RuntimeError("a request before begin")
        return self._top

    def _expected(self) -> Header:
        """The header that is in the top file, or will be; DriverError if it is another's."""
        options, below = self._options, self._base.size
        word = kept(options.base.content())
        found = overlay_top.look(options.path, options.readonly)
        if found is None and options.readonly:
            raise DriverError(f"top {options.path} does not exist: leave readonly out to make it")
        if found is not None:
            fits(found, f"top {options.path}", word, below)
            if options.size not in (0, found.size):
                raise DriverError(
                    f"top {options.path} is of a disk of {found.size} bytes, not {options.size}: "
                    f"say size={found.size}, or nothing"
                )
            return found
        if options.size and options.size < below:
            raise DriverError(
                f"size {options.size} is less than the base of {options.path} has: "
                f"say {below} or more"
            )
        new = Header(options.cluster, options.size or below, below, word)
        if new.problem:
            raise DriverError(
                f"top {options.path}: {new.problem}: make the disk smaller, or them larger"
            )
        return new

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Start, end, and whether it is in the top, of parts that are all in it or all not."""
        cluster, present = self._header.cluster, self._open().present
        end = offset + length
        last = (end - 1) // cluster
        while offset < end:
            here = offset // cluster
            is_present = bool(present[here])
            change = present.find(1 - is_present, here, last + 1)
            stop = end if change < 0 else change * cluster
            yield offset, stop, is_present
            offset = stop

    def _copy_up(self, start: int, stop: int) -> None:
        """Put into the top what clusters have before and behind a part that is to be written."""
        cluster = self._header.cluster
        first = start - start % cluster
        last = min(-(-stop // cluster) * cluster, self.size)
        for begin_, end in ((first, start), (stop, last)):
            if begin_ < end:
                old = memoryview(bytearray(end - begin_))
                self._below(begin_, old)
                self._open().write(begin_, old)

    def _mark(self, start: int, stop: int) -> None:
        cluster = self._header.cluster
        first = start // cluster
        self._open().mark(first, -(-stop // cluster) - first)

    def _below(self, offset: int, into: memoryview) -> None:
        """Read from the base; zeros behind its end."""
        there = min(len(into), max(self._base.size - offset, 0))
        if there:
            self._base.read(offset, into[:there])
        if there < len(into):
            into[there:] = bytes(len(into) - there)


def fits(header: Header, who: str, word: str, size: int) -> None:
    """DriverError if what a header says of its base is not so; a word that is not known says
    nothing. `size` is the base's, in bytes.
    """
    cure = "name the right base, or if it was only moved, 'splitvisor overlay rebase TOP BASE'"
    if header.base and word and header.base != word:
        raise DriverError(f"{who} was made over {header.base!r}, not over {word!r}: {cure}")
    if header.base_size != size:
        raise DriverError(
            f"{who} was made over a base of {header.base_size} bytes, not {size}: {cure}"
        )
