"""Signals that wait until a piece of work is done.

An exception that a signal's handler raises in the midst of gRPC leaves gRPC's locks taken, and
whoever closes the channel later waits for ever. And a clean-up that is cut short leaves processes.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[None]:
    """Handle SIGINT and SIGTERM only after the body; nothing in threads, which get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            os.kill(os.getpid(), noted[0])
