"""What drivers of networks share: sizes, addresses, the options that all have, and a driver that
stands on another.

Every driver of a network has the options `mac` and `mtu`, also one that stands on others, so that
who gives a guest its address need not know the stack: the outermost that says something is right.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.filter import begin
from drivers.interface import Claim

HEADER = 14  # destination, source, type
MAX_FRAME = 65550
ADDRESS = 6
USUAL_MTU = 1500
MIN_MTU, MAX_MTU = 68, 65535  # the least that IPv4 allows (RFC 791), and what a frame has room for

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetOptions:
    """`mac` is what the guest finds as its address, `mtu` 0 what is usual with the driver."""

    mac: str = ""
    mtu: int = 0

    def __post_init__(self) -> None:
        if self.mac:
            parse_mac(self.mac)
        if self.mtu and not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ValueError(f"mtu {self.mtu}: give {MIN_MTU} to {MAX_MTU}")

    @property
    def address(self) -> bytes | None:
        """The six bytes of `mac`."""
        return parse_mac(self.mac) if self.mac else None


class NetFilter:
    """A driver with one child, opened; `Options` of those who derive has a field `child`."""

    def __init__(self, options: Any) -> None:
        self.child: Any = options.child.open()
        self.mac: bytes | None = options.address or self.child.mac
        self._mtu: int = options.mtu

    @staticmethod
    def claims(options: Any) -> Sequence[Claim]:
        """See Claiming."""
        claims: Sequence[Claim] = options.child.claims()
        return claims

    @property
    def mtu(self) -> int:
        """See NetDriver."""
        mtu: int = self._mtu or self.child.mtu
        return mtu

    @property
    def link(self) -> bool:
        """See NetDriver."""
        return bool(self.child.link)

    def begin(self) -> None:
        """See Beginning."""
        begin(self.child)

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver."""
        self.child.send(frames)

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""
        self.child.start(deliver, changed)

    def close(self) -> None:
        """See Driver."""
        self.child.close()


def parse_mac(text: str) -> bytes:
    """The six bytes of an address that one device alone can have; ValueError otherwise."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"mac {text!r}: write six bytes as in 52:54:00:12:34:56")
    address = bytes.fromhex(text.replace(":", ""))
    if address[0] & 1 or not any(address):
        raise ValueError(
            f"mac {text!r}: this is no address of a single device; make the first byte 52"
        )
    return address
