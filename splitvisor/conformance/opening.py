"""The check before all others: without it none of them says anything.

A driver that refuses to be opened is no fault of the driver's, but of who named it; what it is then
must be what its kind demands.
"""

import inspect

from drivers.folders import FolderDriver
from drivers.interface import (
    BlockDriver,
    ClockDriver,
    ConsoleDriver,
    DriverError,
    EntropyDriver,
    NetDriver,
    VirtioDevice,
)
from splitvisor.conformance.contract import OPENS, Check, InapplicableError, demand
from splitvisor.conformance.medium import SECTOR
from splitvisor.conformance.subject import Subject

SMALLEST = 1 << 20  # bytes of a disk
_KINDS: dict[str, type] = {
    "block": BlockDriver,
    "clock": ClockDriver,
    "console": ConsoleDriver,
    "entropy": EntropyDriver,
    "folder": FolderDriver,
    "net": NetDriver,
    "virtio": VirtioDevice,
}


def opening(kind: str) -> Check:
    """It, for drivers of a kind; skipped with the reason if the driver, or this host, refuses."""
    words = f"It opens and closes, has all methods of a {kind} driver, and a disk its size."
    return Check(kind, OPENS, words, _opens)


def _opens(subject: Subject) -> None:
    try:
        driver = subject.open()
    except DriverError as error:
        raise InapplicableError(str(error)) from None
    missing = [name for name in _methods(subject.kind) if not callable(getattr(driver, name, None))]
    demand(not missing, f"it has no method {', '.join(missing)}")
    size = getattr(driver, "size", None) if subject.kind == "block" else SMALLEST
    driver.close()
    demand(type(size) is int, f"size {size!r} is no number of bytes")
    demand(size is None or size % SECTOR == 0, f"size {size} is not a multiple of {SECTOR}")
    if isinstance(size, int) and size < SMALLEST:
        cure = "give it 1M or more"
        raise InapplicableError(f"a disk of {size} bytes is too small for the checks: {cure}")


def _methods(kind: str) -> list[str]:
    return [
        name for name, _ in inspect.getmembers(_KINDS[kind], inspect.isfunction) if name[0] != "_"
    ]
