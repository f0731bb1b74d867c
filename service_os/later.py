"""Modules that libraries import and a service OS hardly ever uses: loaded when somebody uses them.

grpcio has a half for asyncio, protobuf one in Python, and they import these, and asyncio, with
everything else: a third of the time that all imports of a service OS take, and of the memory. Here
their import makes an empty module, which is filled at the first look at anything in it. (importlib
has a LazyLoader, but its modules are filled by the next import statement that names them.)
"""

import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

_loading = threading.RLock()


def postpone(*names: str) -> None:
    """Have these modules loaded at their first use, unless they are imported already."""
    sys.meta_path.insert(0, _Finder(names))


class _Finder:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _Postponing(spec.loader))
        return spec


class _Postponing:
    """Stands in front of the true loader until the module is wanted."""

    def __init__(self, loader: "Loader") -> None:
        self._loader: Loader | None = loader

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes an ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Later

    def fill(self, module: ModuleType) -> None:
        """What `exec_module` did not do; nothing when it is already under way."""
        loader, self._loader = self._loader, None
        if loader is not None:
            assert module.__spec__ is not None
            module.__spec__.loader = module.__loader__ = loader
            loader.exec_module(module)
            module.__class__ = ModuleType


class _Later(ModuleType):
    """An empty module."""

    def __getattr__(self, name: str) -> Any:
        with _loading:  # who comes meanwhile waits; the module's own parts do not
            loader: object = self.__loader__
            if isinstance(loader, _Postponing):
                loader.fill(self)
        return ModuleType.__getattribute__(self, name)
