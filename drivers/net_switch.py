"""A cable into a switch to which other guests of the machine have theirs.

A switch is a name: the ports that give it, in one service OS, are on it. Its table of addresses is
lost with the process, as that of any switch that is switched off, and is learnt again.

A port is an access port of one VLAN, number 1 unless it says otherwise, and sees untagged frames
alone; tagged ones from there are dropped. A `trunk` sees frames of all VLANs with their tags
(802.1Q), those of its own VLAN without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.ethernet import USUAL_MTU, NetOptions
from drivers.switching import NATIVE_VLAN, Port, Switch, join, leave

MAX_VLAN = 4094  # 802.1Q


class SwitchNet:
    """The driver `net.switch`."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(NetOptions):
        """Which switch, and what the port is."""

        name: str
        vlan: int = NATIVE_VLAN
        trunk: bool = False

        def __post_init__(self) -> None:
            NetOptions.__post_init__(self)
            if not 1 <= self.vlan <= MAX_VLAN:
                raise ValueError(f"vlan {self.vlan}: give 1 to {MAX_VLAN}")

    link = True

    def __init__(self, options: Options) -> None:
        self.mac = options.address
        self.mtu = options.mtu or USUAL_MTU
        self._name = options.name
        self._port = Port(options.vlan, options.trunk)
        self._switch: Switch | None = None

    def begin(self) -> None:
        """See Beginning: from now on the port is there."""
        self._switch = join(self._name, self._port)

    def send(self, frames: Sequence[memoryview]) -> None:
        """See NetDriver."""
        assert self._switch is not None
        self._switch.forward(self._port, frames)

    def start(
        self, deliver: Callable[[Sequence[bytes]], None], changed: Callable[[], None]
    ) -> None:
        """See NetDriver."""
        self._port.deliver = deliver

    def close(self) -> None:
        """See Driver."""
        if self._switch is not None:
            leave(self._name, self._port)
