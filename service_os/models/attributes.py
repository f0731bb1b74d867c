"""What a driver must have, looked at before it serves: whoever wrote it is told in one line what is
missing, or which attribute is wrong and what it must be.
"""

from collections.abc import Callable
from typing import Any

_METHODS = {
    "block": ("read", "write", "flush", "close"),
    "console": ("write", "start", "close"),
    "entropy": ("fill", "close"),
    "clock": ("now", "close"),
    "net": ("send", "start", "close"),
    "virtio": ("handle", "close"),
    "folder": ("open", "stat", "close"),  # and more, each of which is one request's alone
}
_SHOWN = 60  # characters of a value
_SECOND = 1_000_000_000
_ENDLESS = float("inf")


class Nonsense(Exception):
    """A driver gave what its interface forbids: one line that says what."""


def missing(driver: Any, kind: str) -> str:
    """Which method it has not that it must have, in one line; "" if it has all."""
    for method in _METHODS[kind]:
        needless = method == "write" and getattr(driver, "readonly", False)
        if not needless and not callable(getattr(driver, method, None)):
            return f"the driver {type(driver).__name__} has no method {method}: add it"
    return ""


def wrong(
    driver: Any, name: str, right: Callable[[Any], bool], must: str, otherwise: Any = None
) -> str:
    """What is wrong with an attribute, in one line; "" if it is right. One that it has not is
    `otherwise`.
    """
    value = getattr(driver, name, otherwise)
    return "" if right(value) else f"the driver's {name} is {repr(value)[:_SHOWN]}: it must {must}"


def of(kind: type[Any]) -> Callable[[Any], bool]:
    """Whether a value is of that type."""
    return lambda value: isinstance(value, kind)


def whole(least: int, most: int) -> Callable[[Any], bool]:
    """Whether a value is a whole number in these limits."""
    return lambda value: isinstance(value, int) and least <= value <= most


def is_patience(value: Any) -> bool:
    """See Patient."""
    return value is None or (isinstance(value, int | float) and value >= 0)


def nanoseconds(clock: Any) -> int:
    """What time it is, since 1970; Nonsense if the driver gives no time."""
    now = clock.now()
    if not isinstance(now, int | float) or not -_ENDLESS < now < _ENDLESS:
        raise Nonsense(f"now() gives {repr(now)[:_SHOWN]}: it must be a number of seconds")
    seconds, fraction = divmod(now, 1)
    return int(seconds) * _SECOND + int(fraction * _SECOND)
