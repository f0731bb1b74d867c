"""Bugs as edits of production code, and how they get into it: nothing there has hooks for them.

An edit names a function and a piece of its text. The function is compiled again with that piece
replaced and takes the place of the original, in this process (`planted`) or in the processes of a
machine (site/sitecustomize.py, which calls `plant` when the module has been imported). An edit that
does not fit the code any more is an error, not a bug that nobody finds.
"""

import __future__

import ast
import importlib
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

SITE = Path(__file__).parent / "site"
VARIABLE = "SPLITVISOR_PLANT"  # the flag: BUG:MODULE,MODULE for the processes that inherit it


class Edit(NamedTuple):
    """In `function` of `module`, the text `old`, which is there once, becomes `new`.

    The function's text begins at the left margin; names are those of the module.
    """

    module: str
    function: str
    old: str
    new: str


class Bug(NamedTuple):
    """One mistake; `breaks` says what is promised and does not hold any more."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    checker: Any  # see checkers.py
    symptom: str  # a regular expression for what the checker must say

    @property
    def modules(self) -> list[str]:
        """That it changes."""
        return list(dict.fromkeys(edit.module for edit in self.edits))


class Misfit(Exception):
    """An edit does not fit the code."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """With the bug in this process."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for module in map(importlib.import_module, bug.modules):
            before += plant(bug, module)
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def environment(bug: Bug, before: Mapping[str, str]) -> dict[str, str]:
    """The environment for processes with the bug, made of one without."""
    path = [str(SITE), before.get("PYTHONPATH", "")]
    words = f"{bug.name}:{','.join(bug.modules)}"
    return {**before, "PYTHONPATH": os.pathsep.join(filter(None, path)), VARIABLE: words}


def plant(bug: Bug, module: ModuleType) -> list[tuple[Any, str, Any]]:
    """Change the functions of one module; owner, name and original of each."""
    edits = [edit for edit in bug.edits if edit.module == module.__name__]
    before = []
    for function in dict.fromkeys(edit.function for edit in edits):
        *outer, name = function.split(".")
        owner: Any = module
        for part in outer:
            owner = getattr(owner, part)
        changed = _changed(bug, module, owner, function)
        before.append((owner, name, vars(owner)[name]))
        setattr(owner, name, changed)
    return before


def _changed(bug: Bug, module: ModuleType, owner: Any, function: str) -> Any:
    text = _text(module, function)
    for edit in bug.edits:
        if (edit.module, edit.function) == (module.__name__, function):
            if (count := text.count(edit.old)) != 1:
                raise Misfit(f"{bug.name}: {function} has {edit.old!r} {count} times")
            text = text.replace(edit.old, edit.new)
    # Within a function whose argument is what `super()` looks for in a method's closure; under a
    # name of its own, for the method's may be that of a function which it calls.
    whole = f"def made(__class__):\n{textwrap.indent(text, '    ')}\n    return planted\n"
    tree: Any = ast.parse(whole)
    tree.body[0].body[0].name = "planted"
    made: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag  # names in annotations may be those of a class
    exec(compile(tree, f"<planted bug {bug.name}>", "exec", flags), vars(module), made)
    return made["made"](owner)


def _text(module: ModuleType, function: str) -> str:
    """Of the function with its decorators, from the left margin."""
    assert module.__file__ is not None
    source = Path(module.__file__).read_text()
    node: Any = ast.parse(source)
    for part in function.split("."):
        found = [child for child in node.body if getattr(child, "name", None) == part]
        if not found:
            raise Misfit(f"{module.__name__} has no {function}")
        node = found[-1]
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return textwrap.dedent("\n".join(source.splitlines()[first - 1 : node.end_lineno]))
