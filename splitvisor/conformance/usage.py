"""A little of everything that a driver of a kind is asked, for checks that look elsewhere."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drivers.interface import MediumError, UnsupportedError

REQUEST = 1 << 16  # bytes


def use(kind: str, driver: Any) -> None:
    """Start it, where there is something to start, and ask, once in an incarnation."""
    start(kind, driver)
    ask(kind, driver)


def start(kind: str, driver: Any) -> None:
    """Have input come in, to be thrown away; for kinds that have some. `begin` was before."""
    if kind == "console":
        driver.start(lambda data: None, 1)
    elif kind == "net":
        driver.start(lambda frames: None, lambda: None)


def ask(kind: str, driver: Any) -> None:
    """Some requests. What the medium refuses is no matter here."""
    with suppress(MediumError, UnsupportedError):
        _REQUESTS[kind](driver)


def _disk(disk: Any) -> None:
    length = min(REQUEST, disk.size)
    data = bytearray(length)
    disk.read(0, memoryview(data))
    if not disk.readonly:
        disk.write(0, memoryview(data))


def _console(console: Any) -> None:
    console.write(b"conformance\n", console.origin)


def _entropy(source: Any) -> None:
    source.fill(memoryview(bytearray(min(64, portion_of(source)))))


def _clock(clock: Any) -> None:
    clock.now()


def _net(port: Any) -> None:
    port.send([memoryview(bytes(60))])


def _folder(folder: Any) -> None:
    root = folder.open(b".", os.O_RDONLY)
    root.names()
    root.close()
    folder.stat(b".")
    folder.space()


def _device(device: Any) -> None:
    device.handle(0, memoryview(bytes(64)), memoryview(bytearray(64)))


def portion_of(source: Any) -> int:
    """See Portioned."""
    portion: int = getattr(source, "portion", REQUEST)
    return portion


_REQUESTS: dict[str, Callable[[Any], None]] = {
    "block": _disk,
    "console": _console,
    "entropy": _entropy,
    "clock": _clock,
    "net": _net,
    "folder": _folder,
    "virtio": _device,
}
