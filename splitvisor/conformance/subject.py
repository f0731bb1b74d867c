"""The driver that is tried: opened as a service OS would, as often as a check likes."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from drivers import registry
from drivers.filter import begin
from drivers.interface import Child, Claim, Keep
from splitvisor.conformance import awaited


@dataclass(frozen=True, slots=True)
class Subject:
    """Kind and spec of a driver, and a folder of its own for what it keeps."""

    kind: str
    spec: str
    folder: Path

    @property
    def keep(self) -> Keep:
        """The same for each incarnation."""
        return Keep(self.folder / "keep")

    def open(self) -> Any:
        """A driver that does not serve yet; DriverError if it cannot be opened."""
        return registry.make(self.kind, self.spec, self.keep, awaited.adapt)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """As a standby has it."""
        driver = self.open()
        try:
            yield driver
        finally:
            driver.close()

    @contextmanager
    def serving(self) -> Iterator[Any]:
        """As an incarnation has it that serves."""
        with self.opened() as driver:
            begin(driver)
            yield driver

    def claims(self) -> Sequence[Claim]:
        """See Claiming; those of files."""
        found = registry.claims(self.kind, self.spec, self.keep)
        return [claim for claim in found if not getattr(claim, "remote", "")]

    def content(self) -> str:
        """See Identified."""
        return registry.content(self.kind, self.spec, self.keep)

    def other(self, spec: str) -> "Subject":
        """The same place, another spec."""
        return dataclasses.replace(self, spec=spec)


def option_types(driver: type[Any]) -> dict[str, Any]:
    """The options that a user may give, and what each is made from: the T of `T | None`."""
    types = get_type_hints(driver.Options)
    fields = [field.name for field in dataclasses.fields(driver.Options)]
    return {name: _given(types[name]) for name in fields if types[name] is not Keep}


def _given(kind: Any) -> Any:
    rest = [arm for arm in get_args(kind) if arm is not NoneType]
    return rest[0] if len(rest) < len(get_args(kind)) else kind


def is_child(kind: Any) -> bool:
    """Whether an option of this type names drivers."""
    return kind is Child or kind == tuple[Child, ...]
