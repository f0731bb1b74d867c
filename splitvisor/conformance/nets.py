"""What is demanded of a port of a network."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from drivers.filter import begin
from drivers.interface import MediumError
from splitvisor.conformance.contract import check, demand
from splitvisor.conformance.subject import Subject

QUIET = 0.2  # seconds in which nothing may be delivered
SIZES = (14, 60, 61, 1514, 9014, 65550)
MIN_MTU, MAX_MTU = 68, 65535


@check("net")
def says_what_it_is(subject: Subject) -> None:
    """The address is six bytes of a single station or None, `mtu` from 68 to 65535, `link` a bool
    after `begin`.
    """
    with subject.serving() as port:
        mac = port.mac
        single = mac is None or (isinstance(mac, bytes) and len(mac) == 6 and not mac[0] & 1)
        demand(single, f"mac {mac!r} is not None or the six bytes of a single station")
        mtu = port.mtu
        demand(type(mtu) is int and MIN_MTU <= mtu <= MAX_MTU, f"mtu {mtu!r} is not 68 to 65535")
        demand(type(port.link) is bool, f"link is {port.link!r}, not a bool")
        for method in ("send", "start", "close"):
            demand(callable(getattr(port, method, None)), f"there is no method {method}")


@check("net")
def sends_frames_of_all_sizes(subject: Subject) -> None:
    """Frames of 14 to 65550 bytes, none, one or 64 at once, are sent or lost; the bytes are only
    lent.
    """
    with subject.serving() as port:
        port.start(_ignore, _nothing)
        _send(port, [])
        for size in SIZES:
            for count in (1, 64):
                lent = [bytearray(_frame(size)) for _ in range(count)]
                _send(port, [memoryview(frame) for frame in lent])
                for frame in lent:
                    frame.append(0)  # BufferError if somebody holds on to it


@check("net")
def sends_without_start(subject: Subject) -> None:
    """Frames may be sent before `start`."""
    with subject.serving() as port:
        _send(port, [memoryview(_frame(60))])


@check("net")
def delivers_frames_until_close(subject: Subject) -> None:
    """What is delivered are batches of bytes, 14 to 65550 each, and nothing more when `close` has
    returned.
    """
    problems: list[str] = []
    closed = threading.Event()

    def deliver(frames: Sequence[bytes]) -> None:
        if closed.is_set():
            problems.append("frames were delivered after close")
        for frame in frames:
            if not isinstance(frame, bytes) or not 14 <= len(frame) <= 65550:
                problems.append(f"what was delivered is no frame: {frame[:20]!r}")

    first = subject.open()
    begin(first)
    first.start(deliver, _nothing)
    for _ in range(20):
        _send(first, [memoryview(_frame(60))] * 8)
    first.close()
    closed.set()
    time.sleep(QUIET)
    demand(not problems, problems[0] if problems else "")


def _frame(size: int) -> bytes:
    """To everybody, of a type for experiments (IEEE 802, local)."""
    header = b"\xff" * 6 + b"\x52\x54\x00\x00\x00\x01" + b"\x88\xb5"
    return header + bytes(size - len(header))


def _send(port: Any, frames: Sequence[memoryview]) -> None:
    with suppress(MediumError):  # a network may lose them, and say so
        port.send(frames)


def _ignore(frames: Sequence[bytes]) -> None:
    pass


def _nothing() -> None:
    pass
