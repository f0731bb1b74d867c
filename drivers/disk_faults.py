"""What goes wrong with a disk, and when: by chance or by a script, the same each time.

A script has a line for each fault: what is asked for, the how manieth of its kind counted from 1,
and what happens to it.

    # anything behind a hash is a comment
    write 100 error           fails, and nothing is written
    read 5 delay 20ms         comes late
    write 7 torn 512          the first 512 bytes are written, then it fails

Kinds are read, write, flush, discard and zeroes. Several lines for one request add up.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from drivers.interface import DriverError
from drivers.options import TooLargeError, nearest, seconds

SECTOR = 512
KINDS = ("read", "write", "flush", "discard", "zeroes")
ACTIONS = ("error", "delay", "torn")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request; nothing, as it stands."""

    delay: float = 0.0  # seconds
    error: bool = False
    torn: int | None = None  # bytes that are written of those that should be


class Request(NamedTuple):
    """The how manieth of what kind, counted from 1."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Chances:
    """Of each request; which ones it will be is in the seed."""

    seed: int
    errors: float  # 0 to 1
    torn: float  # the same, of writes
    delay: float  # seconds; how long it takes is anything up to that

    def fault(self, request: Request, length: int) -> Fault:
        """The same for equal arguments, in all processes; `length` in bytes."""
        chance = random.Random(f"{self.seed} {request.kind} {request.number}")
        delay = chance.random() * self.delay
        error = chance.random() < self.errors
        torn = chance.random() < self.torn and request.kind == "write"
        whole = int(chance.random() * (length // SECTOR)) * SECTOR
        return Fault(delay, error, whole if torn else None)


def parse(text: str, who: str) -> Mapping[Request, Fault]:
    """A script; DriverError names `who`, the line and the cure."""
    script: dict[Request, Fault] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                request = _request(words)
                script[request] = _action(script.get(request, Fault()), words)
            except ValueError as error:
                raise DriverError(f"{who}, line {number}: {error}") from None
    return script


def _request(words: list[str]) -> Request:
    if len(words) < 3:
        raise ValueError(f"{' '.join(words)!r} is no fault: write it like 'read 5 error'")
    kind, number = words[:2]
    if kind not in KINDS:
        raise ValueError(f"there is no request {kind!r}{nearest(kind, KINDS)}")
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"{number!r} is not the number of a request: count from 1")
    return Request(kind, int(number))


def _action(fault: Fault, words: list[str]) -> Fault:
    kind, action, values = words[0], words[2], words[3:]
    if action not in ACTIONS:
        raise ValueError(f"there is no fault {action!r}{nearest(action, ACTIONS)}")
    if len(values) != (action != "error"):
        raise ValueError(f"{action!r} has {len(values)} values: {_EXAMPLES[action]}")
    if action == "torn" and kind != "write":
        raise ValueError(f"a {kind} cannot be torn: only writes are")
    return _ACTIONS[action](fault, *values)


def _torn(fault: Fault, text: str) -> Fault:
    if not text.isdecimal() or int(text) % SECTOR:
        raise ValueError(f"{text!r} is not a multiple of {SECTOR}: {_EXAMPLES['torn']}")
    return replace(fault, torn=int(text))


def _delay(fault: Fault, text: str) -> Fault:
    try:
        return replace(fault, delay=fault.delay + seconds(text))
    except TooLargeError as error:
        raise ValueError(f"{text!r} is too long: {error}") from None
    except ValueError:
        raise ValueError(f"{text!r} is not a time: {_EXAMPLES['delay']}") from None


_EXAMPLES = {
    "error": "write it like 'read 5 error'",
    "delay": "write it like 'read 5 delay 20ms'",
    "torn": "write it like 'write 7 torn 512'",
}
_ACTIONS: dict[str, Callable[..., Fault]] = {
    "error": lambda fault: replace(fault, error=True),
    "delay": _delay,
    "torn": _torn,
}
