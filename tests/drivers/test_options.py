from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from drivers.interface import Child, Keep, SpecError
from drivers.options import Seconds, Shift, Size, fill

KEEP = Keep(Path("/run/keep"))


SMALL = Size(512)


@dataclass(frozen=True)
class Everything:
    path: Path
    keep: Keep
    label: str = "none"
    count: int = 1
    size: Size = SMALL
    readonly: bool = False
    share: float = 0.5
    pause: Seconds = Seconds(0)
    shift: Shift = Shift(0)
    mode: Literal["fast", "safe"] = "safe"
    most: int | None = None
    child: Child | None = None
    children: tuple[Child, ...] = ()

    def __post_init__(self):
        if self.count > 1000:
            raise ValueError(f"count {self.count} is above 1000")


def filled(**texts):
    return fill(Everything, {"path": "x", **texts}, "driver 'x'", KEEP, adopt)


def adopt(name, who, spec):
    assert (name, who) in (("child", "driver 'x'"), ("children", "driver 'x'"))
    return Child(spec, list, tuple, str)


def test_children_are_made_by_whoever_knows_drivers():
    assert filled(child="null:size=1M").child == Child("null:size=1M", list, tuple, str)
    both = filled(children="(a:p=(b)),(c)").children
    assert [child.spec for child in both] == ["a:p=(b)", "c"]
    assert [child.spec for child in filled(children="a").children] == ["a"]
    with pytest.raises(SpecError, match=r"option 'children' must be specs in parentheses"):
        filled(children="(a)(b)")


def test_what_is_left_out_has_its_default_and_keep_comes_from_the_service_os():
    assert filled() == Everything(Path("x"), KEEP)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("label", "a b", "a b"),
        ("count", "12", 12),
        ("count", "0x10", 16),
        ("count", "-3", -3),
        ("size", "4096", 4096),
        ("size", "4K", 4 << 10),
        ("size", "64M", 64 << 20),
        ("size", "2G", 2 << 30),
        ("size", "1MiB", 1 << 20),
        ("size", "1T", 1 << 40),
        ("share", "0.25", 0.25),
        ("pause", "5ms", 0.005),
        ("pause", "1.5s", 1.5),
        ("pause", "2m", 120.0),
        ("size", "9223372036854775296", (1 << 63) - 512),
        ("pause", "1000000s", 1e6),
        ("shift", "-10000000000s", -1e10),
        ("mode", "fast", "fast"),
        ("most", "7", 7),
        ("readonly", None, True),
        ("readonly", "on", True),
        ("readonly", "No", False),
    ],
)
def test_texts_become_values(name, text, value):
    assert getattr(filled(**{name: text}), name) == value


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"readnly": None},
            "driver 'x' has no option 'readnly', did you mean 'readonly'? (known: ",
        ),
        ({"keep": "/etc"}, "has no option 'keep'"),
        ({"count": "many"}, "option 'count' must be a whole number, not 'many'"),
        ({"size": "64Q"}, "option 'size' must be a size such as 64M, not '64Q'"),
        ({"size": "-1"}, "option 'size' must be a size"),
        ({"readonly": "perhaps"}, "option 'readonly' must be on or off"),
        ({"size": "8388608T"}, "option 'size' cannot be '8388608T': the largest size is 92233720"),
        ({"size": "9" * 400}, "the largest size is 9223372036854775296"),
        (
            {"pause": "1000001s"},
            "option 'pause' cannot be '1000001s': the longest time is 1000000s",
        ),
        ({"pause": "9" * 400 + "s"}, "the longest time is 1000000s"),
        ({"shift": "-10000000001s"}, "the farthest shift is 10000000000s, forwards or backwards"),
        ({"shift": "9" * 20 + "s"}, "the farthest shift is"),
        ({"shift": "--1s"}, "must be a time such as 5ms or -3600s"),
        ({"count": None}, "option 'count' needs a value: a whole number"),
        ({"label": None}, "option 'label' needs a value"),
        ({"label": ""}, "option 'label' needs a value"),
        ({"count": "1001"}, "driver 'x': count 1001 is above 1000"),
    ],
)
def test_wrong_texts_are_named(texts, message):
    with pytest.raises(SpecError) as raised:
        filled(**texts)
    assert message in str(raised.value)


def test_a_required_option_that_is_missing_is_named():
    with pytest.raises(SpecError, match="driver 'x' needs the option 'path': add path="):
        fill(Everything, {}, "driver 'x'", KEEP, adopt)
