"""Terminal modes, on a real pseudo-terminal that is the process's own."""

import os
import pty
import subprocess
import sys
import termios

from splitvisor.cli.terminal import cbreak

PROBE = """
import termios
from splitvisor.cli.terminal import cbreak
def mode():
    flags, cc = termios.tcgetattr(0)[3], termios.tcgetattr(0)[6]
    return [bool(flags & f) for f in (termios.ICANON, termios.ECHO, termios.ISIG)], \
        cc[termios.VSUSP]
before = mode()
try:
    with cbreak(0):
        inside = mode()
        raise KeyError
except KeyError:
    pass
assert before[0] == [True, True, True], before
assert inside == ([False, False, True], b"\\0"), inside
assert mode() == before
print("all is well")
"""


def run_on_terminal(code):
    """What the code prints in a session of its own, whose terminal is a new one."""
    master, terminal = pty.openpty()
    take = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    process = subprocess.run(
        [sys.executable, "-c", take + code],
        stdin=terminal,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )
    os.close(terminal)
    os.close(master)
    return process.stdout


def test_keys_come_one_by_one_and_signals_stay_until_the_end_restores_all():
    assert run_on_terminal(PROBE).strip() == b"all is well"


def test_what_is_no_terminal_is_left_alone():
    with open(os.devnull) as null, cbreak(null.fileno()):
        pass


def test_a_terminal_of_somebody_else_is_left_alone():
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with cbreak(terminal):  # not our controlling terminal
        assert termios.tcgetattr(terminal) == before
    os.close(master)
    os.close(terminal)
