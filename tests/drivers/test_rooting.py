from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers import registry
from drivers.interface import Child, SpecError
from drivers.rooting import rooted


class Pair:
    """A driver on two others, with a file that need not be given."""

    @dataclass
    class Options:
        children: tuple[Child, ...]
        log: Path | None = None


@pytest.fixture(autouse=True)
def pair(monkeypatch):
    """`block.pair` is installed."""
    find = registry.find
    monkeypatch.setattr(
        "drivers.rooting.find", lambda kind, name: Pair if name == "pair" else find(kind, name)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory:size=1M", "memory:size=1M"),
        ("file:path=a.img,readonly", "file:path=/r/a.img,readonly"),
        ("file:path=/b/a.img", "file:path=/b/a.img"),
        (r"file:path=a\,b.img", r"file:path=/r/a\,b.img"),
        ("throttle:iops=5,child=(file:path=a.img)", "throttle:iops=5,child=(file:path=/r/a.img)"),
        (
            "throttle:iops=5,child=(throttle:bps=1M,child=(file:path=a.img,readonly))",
            "throttle:iops=5,child=(throttle:bps=1M,child=(file:path=/r/a.img,readonly))",
        ),
        (
            "pair:log=x.log,children=((file:path=a),(file:path=/b))",
            "pair:log=/r/x.log,children=((file:path=/r/a),(file:path=/b))",
        ),
        ("pair:children=(file:path=a)", "pair:children=(file:path=/r/a)"),
        ("file:nonsense=5", "file:nonsense=5"),
    ],
)
def test_paths_start_at_the_root_also_of_drivers_below(text, expected):
    assert rooted("block", text, Path("/r")) == expected


@pytest.mark.parametrize("text", ["fil:path=a", "file:path", "file:", "throttle:child=(fil:x=1)"])
def test_what_is_no_spec_is_a_spec_error_or_left_to_who_fills_options(text):
    try:
        assert rooted("block", text, Path("/r")) == text
    except SpecError:
        assert text != "file:path"
