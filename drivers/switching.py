"""A learning switch between the ports of one process.

A frame goes to the port at which its destination was last seen as a source, in its VLAN; to all
ports of the VLAN if that is not known, or the destination is a group; and never back.

Addresses are forgotten after a while without a frame from them. Each port has a bounded number, so
that a guest that makes addresses up has its own frames flooded, and nobody else's.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from drivers.ethernet import ADDRESS, HEADER

NATIVE_VLAN = 1
AGEING = 300.0  # seconds, as IEEE 802.1D recommends
ADDRESSES = 256  # learnt at one port
TAGGED = b"\x81\x00"
TAG = 4  # bytes: the type, and priority and VLAN
VLAN_BITS = 0xFFF

Address = tuple[int, bytes]  # VLAN and MAC


def nowhere(frames: Sequence[bytes]) -> None:
    """Takes frames before anybody else does."""


class Port:
    """A port, of a VLAN whose frames have no tag there; a `trunk` has those of all others too."""

    def __init__(self, vlan: int = NATIVE_VLAN, trunk: bool = False) -> None:
        self.vlan = vlan
        self.trunk = trunk
        self.deliver: Callable[[Sequence[bytes]], None] = nowhere
        self.known: dict[Address, float] = {}  # addresses learnt here, and when they were last seen

    def untagged(self, frame: memoryview) -> tuple[int, bytes]:
        """The VLAN of a frame that comes in, and the frame without a tag; VLAN 0 if it may not."""
        data = bytes(frame)
        if data[2 * ADDRESS : HEADER] != TAGGED:
            return self.vlan, data
        if len(data) < HEADER + TAG:
            return 0, data
        vlan = int.from_bytes(data[HEADER : HEADER + 2], "big") & VLAN_BITS
        bare = data[: 2 * ADDRESS] + data[2 * ADDRESS + TAG :]
        if not vlan:  # a priority, and no VLAN
            return self.vlan, bare
        return (vlan, bare) if self.trunk and vlan <= VLAN_BITS - 1 else (0, bare)

    def tagged(self, vlan: int, frame: bytes) -> bytes:
        """A frame of a VLAN that the port has, as it goes out there."""
        if vlan == self.vlan:
            return frame
        return frame[: 2 * ADDRESS] + TAGGED + vlan.to_bytes(2, "big") + frame[2 * ADDRESS :]

    def has(self, vlan: int) -> bool:
        """Whether frames of a VLAN go out here."""
        return self.trunk or vlan == self.vlan


class Switch:
    """The ports that there are, and who is where. Any thread; each port sends on one at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ports: tuple[Port, ...] = ()
        self._where: dict[Address, Port] = {}

    def join(self, port: Port) -> None:
        """From now on there is this port."""
        with self._lock:
            self._ports = (*self._ports, port)

    def leave(self, port: Port) -> bool:
        """The port is gone, and what was known of it; whether there are others."""
        with self._lock:
            self._ports = tuple(other for other in self._ports if other is not port)
            for address in list(port.known):
                self._forget(port, address)
            return bool(self._ports)

    def forward(self, source: Port, frames: Iterable[memoryview]) -> None:
        """Give frames that came in at a port to whom they concern, each port's in their order."""
        out: dict[Port, list[bytes]] = {}
        now = self._clock()
        with self._lock:
            for frame in frames:
                vlan, data = source.untagged(frame)
                if not vlan:
                    continue
                self._learn(source, (vlan, data[ADDRESS : 2 * ADDRESS]), now)
                for port in self._concerned(source, vlan, data[:ADDRESS], now):
                    out.setdefault(port, []).append(port.tagged(vlan, data))
        for port, taken in out.items():
            port.deliver(taken)

    def _concerned(self, source: Port, vlan: int, to: bytes, now: float) -> Sequence[Port]:
        port = self._where.get((vlan, to))
        if port is not None:
            if now - port.known[vlan, to] < AGEING:
                return (port,) if port is not source and port.has(vlan) else ()
            self._forget(port, (vlan, to))
        return [port for port in self._ports if port is not source and port.has(vlan)]

    def _learn(self, port: Port, address: Address, now: float) -> None:
        if address[1][0] & 1:  # a group sends nothing
            return
        known = port.known
        if address not in known:
            if len(known) >= ADDRESSES:
                self._expire(port, now)
                if len(known) >= ADDRESSES:
                    return
            if (before := self._where.get(address)) is not None:
                self._forget(before, address)
            self._where[address] = port
        known[address] = now

    def _expire(self, port: Port, now: float) -> None:
        for address in [a for a, seen in port.known.items() if now - seen >= AGEING]:
            self._forget(port, address)

    def _forget(self, port: Port, address: Address) -> None:
        del port.known[address]
        del self._where[address]


_switches: dict[str, Switch] = {}
_switches_lock = threading.Lock()


def join(name: str, port: Port) -> Switch:
    """Put a port on the switch of that name in this process, which is made if there is none."""
    with _switches_lock:
        switch = _switches.setdefault(name, Switch())
        switch.join(port)
        return switch


def leave(name: str, port: Port) -> None:
    """Take a port away, and with the last one the switch."""
    with _switches_lock:
        if not _switches[name].leave(port):
            del _switches[name]
