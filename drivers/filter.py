"""A disk that stands on another: everything goes through, for those who change one thing to derive.

What the guest finds (size, serial number, abilities) is what the driver below has, so a stack has
the features of what it stands on unless a driver in it says otherwise.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from drivers.interface import PATIENCE, Ability, Child, Claim


class Filter:
    """A block driver with one child, opened; `Options` of those who derive has a field `child`."""

    def __init__(self, options: Any) -> None:
        self.child: Any = options.child.open()
        self.readonly: bool = self.child.readonly
        self.identity: str = self.child.identity
        self.abilities = abilities_of(self.child)
        self.block_size = block_size_of(self.child)
        self.patience = patience_of(self.child)
        self.forgets: bool = getattr(self.child, "forgets", False)
        self.size: int = self.child.size

    @staticmethod
    def claims(options: Any) -> Sequence[Claim]:
        """See Claiming."""
        claims: Sequence[Claim] = options.child.claims()
        return claims

    @staticmethod
    def content(options: Any) -> str:
        """See Identified."""
        return str(options.child.content())

    def begin(self) -> None:
        """See Beginning."""
        begin(self.child)
        self.size = self.child.size

    def read(self, offset: int, into: memoryview) -> None:
        """See BlockDriver."""
        self.child.read(offset, into)

    def write(self, offset: int, data: memoryview) -> None:
        """See BlockDriver."""
        self.child.write(offset, data)

    def flush(self) -> None:
        """See BlockDriver."""
        self.child.flush()

    def discard(self, offset: int, length: int) -> None:
        """See Discarding."""
        self.child.discard(offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        """See Zeroing."""
        self.child.write_zeroes(offset, length, unmap)

    def close(self) -> None:
        """See Driver."""
        self.child.close()


def open_all(children: Iterable[Child]) -> list[Any]:
    """All of them open, or none and what the first that failed raised."""
    opened: list[Any] = []
    try:
        for child in children:
            opened.append(child.open())
    except BaseException:
        close_all(opened)
        raise
    return opened


def close_all(opened: Sequence[Any]) -> None:
    """Close each, whatever the others raise; the first such is raised at the end."""
    try:
        if opened:
            opened[0].close()
    finally:
        if opened:
            close_all(opened[1:])


def begin(driver: Any) -> None:
    """See Beginning; for drivers that have it."""
    if hasattr(driver, "begin"):
        driver.begin()


def abilities_of(driver: Any) -> Ability:
    """What a disk can do besides, said or not."""
    return getattr(driver, "abilities", Ability.NONE)


def block_size_of(driver: Any) -> int:
    """See Blocky."""
    return getattr(driver, "block_size", 512)


def patience_of(driver: Any) -> float | None:
    """See Patient."""
    return getattr(driver, "patience", PATIENCE)
