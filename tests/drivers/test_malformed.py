from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from drivers.interface import Child, Keep
from drivers.malformed import problem_of
from drivers.options import Seconds, Size


def driver_of(options):
    return type("Disk", (), {"Options": options})


def with_option(kind, *default):
    body = {"__annotations__": {"n": kind}} | dict(zip("n", default, strict=False))
    return driver_of(dataclass(type("Options", (), body)))


@pytest.mark.parametrize("named", [5, lambda options: None, "Disk", pytest])
def test_what_is_no_class_is_no_driver(named):
    assert problem_of(named) == f"it is no class, but of type {type(named).__name__}"


@pytest.mark.parametrize("options", [None, {}, dict, type("Options", (), {})])
def test_options_are_a_dataclass(options):
    expected = "the class has no dataclass Options: add one, with a field for each option"
    assert problem_of(driver_of(options)) == expected
    assert problem_of(type("Disk", (), {})) == expected


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            with_option("Nobody"),
            "the types of its Options cannot be told: NameError: name 'Nobody'",
        ),
        (with_option("1 / 0"), "the types of its Options cannot be told: ZeroDivisionError"),
        (with_option(dict), "option 'n' is of a type that no text is read as: dict"),
        (with_option(int | str), "option 'n' is of a type that no text is read as: int | str"),
        (with_option(int | str | None), "option 'n' is of a type that no text is read as"),
        (with_option(list[Child]), "option 'n' is of a type that no text is read as: list["),
        (with_option(Literal[1, 2]), "option 'n' is of a type that no text is read as"),
        (with_option(Any), "option 'n' is of a type that no text is read as"),
        (with_option(int, "abc"), "option 'n' has the default 'abc', which is not of its type int"),
        (with_option(int, True), "option 'n' has the default True, which is not of its type int"),
        (with_option(int, None), "option 'n' has the default None, which is not of its type int"),
        (with_option(bool, 1), "option 'n' has the default 1, which is not of its type bool"),
        (with_option(Path, "a.img"), "option 'n' has the default 'a.img', which is not of its ty"),
        (with_option(Size, 1.5), "option 'n' has the default 1.5, which is not of its type"),
        (
            with_option(Literal["a"], "b"),
            "option 'n' has the default 'b', which is not of its type",
        ),
        (with_option(tuple[Child, ...], (1,)), "option 'n' has the default (1,), which is not of"),
        (with_option(int, field(default_factory=str)), "option 'n' has the default '', which is"),
        (with_option(int, field(default_factory=lambda: 1 // 0)), "option 'n' cannot make its def"),
    ],
)
def test_types_and_defaults_that_cannot_be_are_told(wanted, why):
    assert problem_of(wanted).startswith(why)


@pytest.mark.parametrize(
    "wanted",
    [
        with_option(str),
        with_option("int"),
        with_option(float, 1),
        with_option(Seconds, 0),
        with_option(Size | None, None),
        with_option(Literal["a"] | None, "a"),
        with_option(Keep),
        with_option(tuple[Child, ...], ()),
        with_option(Child | None, None),
        with_option(bool, False),
        with_option(Path, field(default_factory=Path)),
    ],
)
def test_what_can_be_filled_has_no_problem(wanted):
    assert problem_of(wanted) == ""
