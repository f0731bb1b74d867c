import importlib
import os
import sys
from importlib.metadata import entry_points as reference

import pytest

from drivers.installed import entry_points, load

TEXT = """
[other]
block.file = other:Wrong

[ group ]
# a remark
; and another
block.toy=toy.disk : Toy.Inner
block.more = toy [extra]
not an entry
"""


def install(site, name, text):
    (site / name).mkdir(parents=True)
    (site / name / "entry_points.txt").write_text(text)


def test_it_finds_what_importlib_finds():
    for group in ("splitvisor.drivers", "console_scripts", "pytest11", "nobody"):
        assert entry_points(group) == {e.name: e.value for e in reference(group=group)}


def test_a_file_is_read_as_specified(tmp_path, monkeypatch):
    install(tmp_path, "toy-1.dist-info", TEXT)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/nonexistent"])
    assert entry_points("group") == {"block.toy": "toy.disk : Toy.Inner", "block.more": "toy"}


def test_the_first_on_the_path_wins_and_news_is_seen(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    os.utime(first, (1, 1))
    install(second, "b-1.egg-info", "[group]\nx = second")
    monkeypatch.setattr(sys, "path", [str(first), str(second)])
    assert entry_points("group") == {"x": "second"}
    install(first, "a-1.dist-info", "[group]\nx = first")
    assert entry_points("group") == {"x": "first"}


def test_what_cannot_be_read_is_no_entry_point(tmp_path, monkeypatch):
    install(tmp_path, "bad-1.dist-info", "")
    (tmp_path / "bad-1.dist-info" / "entry_points.txt").write_bytes(b"[group]\nx = \xff")
    (tmp_path / "none-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert entry_points("group") == {}


def test_a_value_names_a_module_or_something_in_it():
    assert load("importlib") is importlib
    assert load("importlib.metadata : EntryPoint.load").__name__ == "load"
    with pytest.raises(ModuleNotFoundError):
        load("nobody_has_this:Driver")
