"""A port with no cable behind it: what is sent is gone, and nothing arrives.

It is for guests that want to see a network device, and for measuring what the way to it costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.ethernet import USUAL_MTU, NetOptions


class NullNet:
    """The driver `net.null`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """Those of all, and whether the guest finds the cable in."""

        link: bool = True

    def __init__(self, options: Options) -> None:
        self.mac = options.address
        self.mtu = options.mtu or USUAL_MTU
        self.link = options.link

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver."""

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""

    def close(self) -> None:
        """See Driver."""
