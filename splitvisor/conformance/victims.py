"""Processes that are there to die: forked, told what to do, and killed at a point or a time.

Only a process with one thread forks, before any driver is opened in it; so each check opens its
drivers in victims first and in its own process last, or makes a new victim from one that waits.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from splitvisor.conformance.contract import BlockedError, ViolationError

PATIENCE = 30.0  # seconds for what a victim has to do


def die() -> None:
    """End as by SIGKILL from outside: nothing is unwound."""
    os.kill(os.getpid(), signal.SIGKILL)


class Victim:
    """A child that runs `work`, which may `say` bytes to its parent."""

    def __init__(self, work: Callable[["Victim"], None]) -> None:
        self._from_child, self._to_parent = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._from_child)
            _run(lambda: work(self))
        os.close(self._to_parent)
        self._end = os.pidfd_open(self.pid)
        os.set_blocking(self._from_child, False)

    def say(self, words: bytes) -> None:
        """In the child."""
        os.write(self._to_parent, words)

    def heard(self) -> bytes:
        """In the parent: what has been said, once there is something; nothing when it has ended.

        Children of its own, which it may have left, can have the pipe open still.
        """
        if not select.select([self._from_child, self._end], [], [], PATIENCE)[0]:
            self.kill()
            raise BlockedError(f"the driver did nothing for {PATIENCE:.0f} s")
        try:
            return os.read(self._from_child, 1 << 16)
        except BlockingIOError:
            return b""

    def rest(self) -> bytes:
        """All that is said until its end."""
        said = b""
        while piece := self.heard():
            said += piece
        return said

    def kill(self) -> None:
        """With SIGKILL; `wait` follows."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """For its end: the exit status, minus the signal's number if one ended it."""
        os.close(self._from_child)
        os.close(self._end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def killed(work: Callable[[], None]) -> None:
    """Have a victim do this and die at its very end; ViolationError if it does not get there."""
    said = Victim(lambda victim: _told(victim, work))
    words = said.rest()
    status = said.wait()
    if status != -signal.SIGKILL:
        raise ViolationError(words.decode() or f"the process ended with {status} in mid-work")


def apart(work: Callable[[], bytes | None]) -> bytes:
    """What `work` gives, done in another process; ViolationError with its reason if it raises."""

    def tell(victim: Victim) -> None:
        try:
            victim.say(b"." + (work() or b""))
        except Exception as error:
            victim.say(b"!" + described(error).encode())

    victim = Victim(tell)
    said = victim.rest()
    status = victim.wait()
    if said[:1] == b".":
        return said[1:]
    if said:
        raise ViolationError(said[1:].decode())
    raise ViolationError(f"the process ended by {ending(status)}")


def ending(status: int) -> str:
    """A status as words."""
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit {status}"


def described(error: BaseException) -> str:
    """An exception in one line; what is not a check's own is named."""
    text = " ".join(str(error).split())
    if isinstance(error, ViolationError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Trap:
    """Counts calls into C while it is armed, on all threads started since it was set, and kills the
    process before or behind one of them: between any two steps that a driver makes.
    """

    def __init__(self, point: int) -> None:
        self.count = 0
        self._point = point  # 0: nowhere
        self._armed = False
        threading.setprofile(self._seen)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """What is done inside counts."""
        self._armed = True
        sys.setprofile(self._seen)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._armed = False

    def _seen(self, frame: FrameType, event: str, argument: Any) -> None:
        if self._armed and event in ("c_call", "c_return"):
            self.count += 1
            if self.count == self._point:
                die()


def _told(victim: Victim, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        victim.say(described(error).encode())
        return
    die()


def _run(work: Callable[[], None]) -> None:
    """In the child: do it and end without a word of the parent's."""
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)
