"""What is wrong with a class that is named as a driver, whatever its options will be.

Who writes a driver makes such mistakes first, and is told of them in the words of the interface
before anything is made of the class.
"""

import dataclasses
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from drivers.interface import Child, Keep
from drivers.options import Seconds, Shift, Size, understood, without_none
from drivers.raised import raised

_VALUES: dict[Any, tuple[type[Any], ...]] = {  # what a default of each type is made of
    str: (str,),
    Path: (Path,),
    int: (int,),
    float: (int, float),
    Size: (int,),
    Seconds: (int, float),
    Shift: (int, float),
    bool: (bool,),
    Child: (Child,),
}


def problem_of(named: Any) -> str:
    """In one line; "" for a class that has `Options` whose fields can be filled from texts."""
    if not isinstance(named, type):
        return f"it is no class, but of type {type(named).__name__}"
    wanted: Any = getattr(named, "Options", None)
    if not isinstance(wanted, type) or not dataclasses.is_dataclass(wanted):
        return "the class has no dataclass Options: add one, with a field for each option"
    try:
        types = get_type_hints(wanted)
    except BaseException as error:  # evaluating an annotation may raise anything
        if not (why := raised(error)):
            raise
        return f"the types of its Options cannot be told: {why}"
    problems = (
        _problem_of_option(field, types[field.name])
        for field in dataclasses.fields(wanted)
        if types[field.name] is not Keep
    )
    return next(filter(None, problems), "")


def _problem_of_option(field: "dataclasses.Field[Any]", kind: Any) -> str:
    what = f"option {field.name!r}"
    if not understood(kind):
        return f"{what} is of a type that no text is read as: {_called(kind)}"
    default: Any = field.default
    if field.default_factory is not dataclasses.MISSING:
        try:
            default = field.default_factory()
        except BaseException as error:  # also one that wants to end the process
            if not (why := raised(error)):
                raise
            return f"{what} cannot make its default: {why}"
    if default is not dataclasses.MISSING and not _is_of(kind, default):
        return f"{what} has the default {default!r}, which is not of its type {_called(kind)}"
    return ""


def _is_of(kind: Any, value: Any) -> bool:
    if value is None:
        return NoneType in get_args(kind)
    kind = without_none(kind)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(one, Child) for one in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, _VALUES[kind])


def _called(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
