"""The signals that end a machine in order, and when they are let through.

A signal must never come between making something and being ready to take it away again. So the
signals are only noted before the first thing is made; who listens to them while the machine runs
gets the noted ones as well; and they are noted again until the last thing is gone. None is lost:
what is left at the end does what it would have done before.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Noted:
    """Signals that came while nobody listened, in order."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def note(self, number: int, _: FrameType | None) -> None:
        """The handler."""
        self._numbers.append(number)

    def deliver(self) -> None:
        """Send them to ourselves, to whoever handles them now."""
        while self._numbers:
            signal.raise_signal(self._numbers.pop(0))


@contextmanager
def held() -> Iterator[Noted]:
    """Note the signals while the body runs, as long as nobody in it listens; then deliver them."""
    noted = Noted()
    before = {number: signal.signal(number, noted.note) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        noted.deliver()
