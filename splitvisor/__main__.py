"""The entry of the command `splitvisor`, and of `python -m splitvisor`: quiet ends by signals.

Importing the rest takes a third of a second, in which there is nothing yet that would have to be
cleaned up: Ctrl-C or SIGTERM end it at once. While a command runs they unwind it, so that what it
holds is let go of; a machine has its own way of ending (splitvisor.supervisor.ending).
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the command of the process's arguments; the exit status, 128 + n for signal n."""
    _handle(_end_at_once)
    from splitvisor.cli.main import main as command  # noqa: PLC0415  # what takes so long

    try:
        _handle(_unwind)
        return command()
    finally:
        _handle(_end_at_once)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _end_at_once(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _unwind(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
