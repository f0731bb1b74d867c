"""What can be said of an installed driver without opening it: where it comes from, what it says of
itself, and its options.
"""

import dataclasses
import inspect
import re
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from drivers import registry
from drivers.interface import Child, DriverError
from drivers.options import Seconds, Shift, Size, nearest
from splitvisor.conformance.run import KINDS
from splitvisor.conformance.subject import option_types
from splitvisor.errors import UserError
from splitvisor.units import format_size

_TYPES: dict[Any, str] = {
    str: "text",
    Path: "path",
    int: "number",
    float: "number",
    bool: "flag",
    Size: "size, as 64M",
    Seconds: "time, as 5ms",
    Shift: "time, as -5ms",
    Child: "driver",
    tuple[Child, ...]: "drivers",
}
_UNITS = ((60.0, "m"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


@dataclass(frozen=True, slots=True)
class Facts:
    """`problem` says why a driver cannot be used, and then nothing is said of what it is."""

    kind: str
    name: str
    package: str
    version: str
    summary: str
    problem: str = ""

    @property
    def entry(self) -> str:
        """The name that the package gave it."""
        return f"{self.kind}.{self.name}" if self.kind else self.name


@dataclass(frozen=True, slots=True)
class Option:
    """One option as users write it; `default` is None if it must be given."""

    name: str
    type: str
    default: str | None
    help: str


def kinds() -> list[str]:
    """Of all drivers there are."""
    found = {name.partition(".")[0] for name in _entries() if "." in name}
    return [*KINDS, *sorted(found - {*KINDS})]


def installed(kind: str | None = None) -> list[Facts]:
    """All drivers, or those of a kind, sorted by name."""
    wanted = [kind] if kind else kinds()
    found = [facts(kind, name) for kind in wanted for name in registry.names(kind)]
    return found if kind else found + [_of_no_kind(name) for name in _entries() if "." not in name]


def facts(kind: str, name: str) -> Facts:
    """Of one driver that there is."""
    package, version = _origin(f"{kind}.{name}")
    if kind not in KINDS:
        problem = f"no device is of kind {kind!r}{nearest(kind, KINDS)}"
        return Facts(kind, name, package, version, "", problem)
    try:
        driver = registry.find(kind, name)
    except DriverError as error:
        return Facts(kind, name, package, version, "", " ".join(str(error).split()))
    return Facts(kind, name, package, version, _first_sentence(text_of(driver)))


def _of_no_kind(name: str) -> Facts:
    problem = f"no driver is called so: name its entry point KIND.NAME, as block.{name}"
    return Facts("", name, *_origin(name), "", problem)


def split(name: str) -> tuple[str, str]:
    """Kind and name of `KIND.NAME`; UserError if there is no such driver."""
    kind, dot, driver = name.partition(".")
    known = [f"{kind}.{name}" for kind in kinds() for name in registry.names(kind)]
    if not dot or name not in known:
        raise UserError(f"no driver {name!r}{nearest(name, known)}")
    return kind, driver


def text_of(driver: type[Any]) -> str:
    """What it says of itself: the module's docstring, or else the class's."""
    module = sys.modules.get(driver.__module__)
    return inspect.cleandoc((module and module.__doc__) or driver.__doc__ or "")


def options_of(driver: type[Any]) -> list[Option]:
    """Those that a user may give, in order; help is the comment behind each in the source."""
    comments = _comments(driver.Options)
    fields = {field.name: field for field in dataclasses.fields(driver.Options)}
    return [
        Option(name, _type_text(kind), _default_text(kind, fields[name]), comments.get(name, ""))
        for name, kind in option_types(driver).items()
    ]


def example_of(name: str, options: list[Option]) -> str:
    """A spec with what must be given."""
    words = []
    for option in options:
        if option.default is None:
            nested = option.type in ("driver", "drivers")
            words.append(
                f"{option.name}=(...)" if nested else f"{option.name}={option.name.upper()}"
            )
    return f"{name}:{','.join(words)}" if words else name


def _entries() -> list[str]:
    return sorted({point.name for point in entry_points(group=registry.GROUP)})


def _origin(entry: str) -> tuple[str, str]:
    """Name and version of the package; of two with such a driver, the first on the path."""
    for point in entry_points(group=registry.GROUP):
        if point.name == entry and point.dist is not None:
            return point.dist.name, point.dist.version
    return "", ""


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    match = re.match(r"(.+?)\.(?=\s|$)", paragraph)
    return match[1] if match else paragraph


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return _TYPES.get(kind, str(kind))


def _default_text(kind: Any, field: "dataclasses.Field[Any]") -> str | None:
    missing = dataclasses.MISSING
    if field.default is missing and field.default_factory is missing:
        return None
    factory: Any = field.default_factory
    value: Any = field.default if factory is missing else factory()
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == Path():
        return ""
    if kind in (Seconds, Shift) and value:
        scale, unit = next(((s, u) for s, u in _UNITS if abs(value) >= s), _UNITS[-1])
        return f"{value / scale:g}{unit}"
    return format_size(value) if kind is Size and value else str(value)


def _comments(options: type[Any]) -> dict[str, str]:
    try:
        source = inspect.getsource(options)
    except (OSError, TypeError):
        return {}
    return dict(re.findall(r"^\s+(\w+): .*?  # (.*)$", source, re.MULTILINE))
