"""Finding drivers by kind and name among the entry points of the group `splitvisor.drivers`.

The drivers that come with splitvisor stand there beside anyone else's; none is special.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from drivers.installed import entry_points, load
from drivers.interface import Child, Claim, DriverError, Keep, SpecError
from drivers.malformed import problem_of
from drivers.options import fill, nearest
from drivers.raised import of_option, one_line, raised
from drivers.spec import parse

Adapt = Callable[[Any], Any]

GROUP = "splitvisor.drivers"
_OWN = "drivers."  # begins the modules of those that are known to be importable
MAX_DEPTH = 16  # of a stack
_NOWHERE = Keep(Path("/nonexistent"))
_trial: Callable[[str], str] | None = None


def try_first(trial: Callable[[str], str]) -> None:
    """Have `trial` say of each driver of somebody else, by its entry point's value, why it is not
    to be imported here; "" if it may be. For processes that are to outlive a driver's mistakes.
    """
    global _trial  # noqa: PLW0603  # a process is one that is to outlive them, or is not
    _trial = trial


def names(kind: str) -> list[str]:
    """The drivers there are for a kind of device (block, console, entropy, ...), sorted."""
    return sorted(_found(kind))


def find(kind: str, name: str) -> type[Any]:
    """The driver's class; SpecError with the nearest match if there is none, another DriverError
    for what cannot be loaded or is no driver.
    """
    found = _found(kind)
    if name not in found:
        raise SpecError(f"no {kind} driver {name!r}{nearest(name, found)}")
    what = f"{kind} driver {name!r} ({found[name]})"
    if problem := _problem_of_import(found[name]):
        raise DriverError(f"{what} cannot be loaded: {problem}")
    try:
        with redirect_stdout(sys.stderr):  # standard output is for what was asked for
            loaded: type[Any] = load(found[name])
    except BaseException as error:  # also one that wants to end the process
        why = f"{type(error).__name__}: {one_line(str(error))}"
        raise DriverError(f"{what} cannot be loaded: {why}") from None
    if problem := problem_of(loaded):
        raise DriverError(f"{what} is no driver: {problem}")
    return loaded


def check(kind: str, spec_text: str) -> None:
    """Raise DriverError for everything that can be known to be wrong without opening anything."""
    driver, options = _prepare(kind, spec_text, _NOWHERE)
    _claims(driver, options)
    _content(driver, options)


def claims(kind: str, spec_text: str, keep: Keep = _NOWHERE) -> Sequence[Claim]:
    """What the device would use, files mostly; nothing is opened. DriverError as for `check`."""
    return _claims(*_prepare(kind, spec_text, keep))


def content(kind: str, spec_text: str, keep: Keep = _NOWHERE) -> str:
    """What `Identified` says of it; empty if there is no telling. DriverError as for `check`."""
    return _content(*_prepare(kind, spec_text, keep))


def make(kind: str, spec_text: str, keep: Keep, adapt: Adapt = lambda opened: opened) -> Any:
    """An open driver; SpecError if the text is wrong, another DriverError if it cannot open. What
    `adapt` makes of each driver of a stack is what those above it, and the caller, are given.
    """
    driver, options = _prepare(kind, spec_text, keep, adapt)
    return adapt(driver(options))


def _prepare(
    kind: str, spec_text: str, keep: Keep, adapt: Adapt = lambda opened: opened, depth: int = 0
) -> tuple[type[Any], Any]:
    if depth == MAX_DEPTH:
        raise SpecError(f"a stack of more than {MAX_DEPTH} drivers: take some away")
    spec = parse(spec_text)
    driver = find(kind, spec.driver)
    adopt = partial(_adopt, kind, keep, adapt, depth + 1)
    return driver, fill(driver.Options, spec.options, f"{kind} driver {spec.driver!r}", keep, adopt)


def _adopt(
    kind: str, keep: Keep, adapt: Adapt, depth: int, name: str, who: str, spec_text: str
) -> Child:
    """What an option names that is a driver itself. A stack has one place to keep things, so that a
    driver finds its own again wherever it stands.
    """
    try:
        driver, options = _prepare(kind, spec_text, keep, adapt, depth)
    except SpecError as error:
        raise SpecError(f"{who}: option {name!r}: {error}") from None
    return Child(
        spec_text,
        partial(_opened, driver, options, adapt, name),
        partial(_claims, driver, options),
        partial(_content, driver, options),
    )


def _opened(driver: type[Any], options: Any, adapt: Adapt, name: str) -> Any:
    with of_option(name):
        return adapt(driver(options))


def _claims(driver: type[Any], options: Any) -> Sequence[Claim]:
    stated = _answer(driver, "claims", options, ())
    if not isinstance(stated, Sequence) or not all(isinstance(one, Claim) for one in stated):
        raise DriverError(f"{_called(driver, 'claims')} gives {stated!r}: no sequence of Claim")
    return stated


def _content(driver: type[Any], options: Any) -> str:
    said = _answer(driver, "content", options, "")
    if not isinstance(said, str):
        raise DriverError(f"{_called(driver, 'content')} gives {said!r}: no text")
    return said


def _answer(driver: type[Any], method: str, options: Any, default: Any) -> Any:
    """What a driver says of itself, if it says that at all; DriverError, whatever it raises."""
    try:
        return getattr(driver, method)(options) if hasattr(driver, method) else default
    except DriverError as error:
        kind = SpecError if isinstance(error, SpecError) else DriverError
        raise kind(one_line(str(error))) from None
    except BaseException as error:  # also one that wants to end the process
        if not (why := raised(error)):
            raise
        raise DriverError(f"{_called(driver, method)} raises {why}") from None


def _called(driver: type[Any], method: str) -> str:
    return f"{method}() of the driver {driver.__module__}:{driver.__qualname__}"


def _problem_of_import(value: str) -> str:
    known = value.startswith(_OWN) or value.partition(":")[0] in sys.modules
    return "" if known or _trial is None else _trial(value)


def _found(kind: str) -> dict[str, str]:
    prefix = f"{kind}."
    return {
        name.removeprefix(prefix): value
        for name, value in entry_points(GROUP).items()
        if name.startswith(prefix)
    }
