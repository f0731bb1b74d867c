"""One guest of a machine in a test: what it says, and how it ends."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from protos import core_pb2 as core
from splitvisor.checks.storm import StormLog, parse
from splitvisor.testing.failure import MachineFailure

T = TypeVar("T")


class Waiting(Protocol):
    """How a machine waits; an error of its own if it ends meanwhile or the time is over."""

    def __call__(self, what: str, look: Callable[[], T | None], seconds: float) -> T:
        """What `look` returns once it is not None."""


@dataclass(frozen=True, repr=False)
class Verdict:
    """How a guest ended; with `reason` "exit" it said so itself, and `status` is its own."""

    name: str
    reason: str
    status: int
    output: str

    @property
    def passed(self) -> bool:
        """Whether it exited with status 0."""
        return self.reason == "exit" and self.status == 0

    @cached_property
    def storm(self) -> StormLog | None:
        """What it said, if it is the guest storm and has begun."""
        return parse(self.output)

    @property
    def io_errors(self) -> int:
        """Requests that failed, as far as the guest storm counts them."""
        return self.storm.result.get("errors", len(self.storm.failed)) if self.storm else 0

    def __repr__(self) -> str:
        said = self.output.rstrip().rsplit("\n", 1)[-1]
        return f"guest {self.name}: {self.reason}, status {self.status}: {said}"


class Guest:
    """A guest of a machine that runs."""

    def __init__(
        self,
        name: str,
        console: Path,
        wait: Waiting,
        status: Callable[[], core.GuestStatus],
        restarts: bool = False,
        begin: int = 0,
    ) -> None:
        self.name = name
        self.console = console  # the file
        self._begin = begin  # of what it says in the file: logs append
        self._wait = wait
        self.status = status
        self._restarts = restarts

    def output(self) -> str:
        """What it has said so far."""
        if not self.console.exists():
            return ""
        said = self.console.read_bytes()[self._begin :].decode(errors="replace")
        return io.StringIO(said, newline=None).read()  # with the ends of lines of a text file

    def says(self, words: str, seconds: float = 60) -> str:
        """Wait for a line with these words; the line. MachineFailure if it has ended without."""

        def look() -> str | None:
            whole = _line(words, self.output().rpartition("\n")[0])
            if whole is not None or not has_ended(self.status(), self._restarts):
                return whole
            if (last := _line(words, self.output())) is None:
                raise MachineFailure(f"{self.end()}; it never said {words!r}")
            return last

        return self._wait(f"guest {self.name} to say {words!r}", look, seconds)

    def wait(self, seconds: float = 60) -> Verdict:
        """Wait for its end."""

        def look() -> core.GuestStatus | None:
            status = self.status()
            return status if has_ended(status, self._restarts) else None

        return self._verdict(self._wait(f"the end of guest {self.name}", look, seconds))

    def end(self) -> str:
        """How a guest has ended that has, in one line."""
        name, words = str(self._verdict(self.status())).split(": ", 1)
        return f"{name} has ended: {words}"

    def _verdict(self, status: core.GuestStatus) -> Verdict:
        reason = core.EndReason.Name(status.end_reason).removeprefix("END_").lower()
        return Verdict(self.name, reason.replace("_", "-"), status.exit_status, self.output())


def _line(words: str, said: str) -> str | None:
    return next((line for line in said.splitlines() if words in line), None)


def has_ended(status: core.GuestStatus, restarts: bool) -> bool:
    """Whether a guest has for good, and not only until it `restarts` after a reset."""
    again = restarts and status.end_reason == core.END_RESET
    return status.state == core.GUEST_ENDED and not again
