"""Checks by name: each is a function that demands one thing, which its docstring says in a line."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from splitvisor.conformance.subject import Subject

OPENS = "opens"  # the check before all others; told of if it fails, or was asked for
ALL = ""  # the kind of a check that all kinds of drivers have to pass


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """Of one check: what it demands, how it ended, and why unless it passed. After one in which the
    driver `blocked` no other is tried.
    """

    check: str
    demand: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One demand; `run` raises ViolationError or InapplicableError, or all is well."""

    kind: str
    name: str
    demand: str
    run: Callable[[Subject], None]


class ViolationError(Exception):
    """The driver does not do what is demanded; the text says how."""


class BlockedError(ViolationError):
    """The driver does not come back."""


class InapplicableError(Exception):
    """This driver, or this host, gives the check nothing to look at."""


_checks: list[Check] = []


def check(*kinds: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make the function a check of these kinds of drivers, or of all."""

    def register(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        demand = (function.__doc__ or "").split("\n\n")[0]
        for kind in kinds or (ALL,):
            _checks.append(Check(kind, function.__name__, " ".join(demand.split()), function))
        return function

    return register


def checks_of(kind: str) -> list[Check]:
    """In the order in which they are to be run: those of the kind, then those of all."""
    return [c for c in _checks if c.kind == kind] + [c for c in _checks if c.kind == ALL]


def demand(holds: object, otherwise: str) -> None:
    """ViolationError with that text unless it holds."""
    if not holds:
        raise ViolationError(otherwise)
