"""A console that nobody looks at: it takes all output and gives no input."""

from collections.abc import Callable
from dataclasses import dataclass


class NullConsole:
    """The driver `console.null`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """None."""

    positional = True
    origin = 0

    def __init__(self, options: Options) -> None:
        pass

    def write(self, data: bytes, position: int) -> None:
        """See ConsoleDriver."""

    def start(self, deliver: Callable[[bytes], None], rank: int) -> None:
        """Nothing is ever typed here."""

    def close(self) -> None:
        """See Driver."""
