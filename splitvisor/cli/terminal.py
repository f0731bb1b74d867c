"""The user's terminal while guests have their consoles on it.

Keys go to the guest one by one and unechoed (cbreak), but the terminal still turns Ctrl-C into a
signal, which ends the machine. Ctrl-Z goes to the guest: stopping the launcher would leave the
guest running on a terminal that the shell believes to own.
"""

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_LFLAG, _CC = 3, 6  # places in what tcgetattr gives


@contextmanager
def cbreak(fd: int) -> Iterator[None]:
    """Put the terminal at `fd` into cbreak mode; nothing if it is none, or not ours to change."""
    if not _is_ours(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
    mode[_CC][termios.VMIN] = 1
    mode[_CC][termios.VTIME] = 0
    mode[_CC][termios.VSUSP] = b"\0"
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def _is_ours(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()  # in the background we would be stopped
    except OSError:
        return False
