import json

import pytest

from drivers import registry
from drivers.interface import Keep
from drivers.registry import make
from splitvisor.cli.lone_driver import locked
from splitvisor.cli.main import main

SIZE = 1 << 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A base and a top that says `new` at its start."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.img").write_bytes(b"old".ljust(SIZE, b"\0"))
    disk = opened("file:path=a.img,readonly")
    disk.write(0, memoryview(b"new".ljust(512, b"\0")))
    disk.close()
    return tmp_path


def opened(base):
    disk = make("block", f"overlay:base=({base}),path=a.top", Keep("k"))
    disk.begin()
    return disk


def test_info(folder, capsys):
    assert main(["overlay", "info", "a.top"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("a.top: 1M over ")
    assert said.endswith("of 1M\n1 of 16 clusters of 64K are in it\n")
    assert main(["overlay", "info", "a.top", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["size"], facts["clusters_in_top"], facts["clusters"]) == (SIZE, 1, 16)


@pytest.mark.parametrize("base", ["a.img", "file:path=a.img"])
def test_commit(folder, base, capsys):
    assert main(["overlay", "commit", "a.top", base]) == 0
    assert capsys.readouterr().out == f"copied 1 cluster into {base}; a.top is gone\n"
    assert (folder / "a.img").read_bytes()[:3] == b"new"
    assert not (folder / "a.top").exists()


class Async:
    """A disk whose methods are async."""

    def __init__(self, disk):
        self.disk, self.size, self.readonly = disk, disk.size, disk.readonly

    async def write(self, offset, data):
        self.disk.write(offset, data)

    async def flush(self):
        self.disk.flush()

    def close(self):
        self.disk.close()


def test_commit_to_a_driver_that_is_async(folder, monkeypatch):
    real = registry.make

    def make(kind, spec, keep, adapt):
        return adapt(Async(real(kind, spec, keep)))

    monkeypatch.setattr(registry, "make", make)
    assert main(["overlay", "commit", "a.top", "a.img"]) == 0
    assert (folder / "a.img").read_bytes()[:3] == b"new"


def test_discard(folder, capsys):
    assert main(["overlay", "discard", "a.top"]) == 0
    assert capsys.readouterr().out == "a.top is gone, with 1 cluster\n"
    assert (folder / "a.img").read_bytes()[:3] == b"old"
    assert not (folder / "a.top").exists()


def test_rebase(folder, capsys):
    (folder / "b.img").write_bytes((folder / "a.img").read_bytes())
    assert main(["overlay", "rebase", "a.top", "b.img"]) == 0
    assert capsys.readouterr().out == "a.top stands over b.img now\n"
    opened("file:path=b.img,readonly").close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "a.img"], "top a.img is no top of an overlay"),
        (["info", "none"], "top none does not exist"),
        (["info", ""], "the path is empty"),
        (["commit", "a.top"], "BASE"),
        (["commit", "a.top", ""], "BASE is empty"),
        (["commit", "a.top", "none.img"], "disk none.img does not exist"),
        (["commit", "a.top", "file:path=a.img,readonly"], "is read-only: leave readonly out"),
        (["commit", "a.top", "file:pth=a.img"], "did you mean 'path'?"),
        (["rebase", "a.top", "none.img"], "disk none.img does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_changed(folder, arguments, words, capsys):
    before = (folder / "a.top").read_bytes()
    assert main(["overlay", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert (folder / "a.top").read_bytes() == before


@pytest.mark.parametrize("verb", [["info"], ["commit"], ["discard"], ["rebase"]])
def test_one_that_is_in_use_is_left_alone(folder, verb, capsys):
    disk = opened("file:path=a.img,readonly")
    base = ["a.img"] if verb[0] in ("commit", "rebase") else []
    assert main(["overlay", *verb, "a.top", *base]) == 2
    assert "a.top is in use: stop the machine" in capsys.readouterr().err
    disk.close()
    assert (folder / "a.img").read_bytes()[:3] == b"old"


@pytest.mark.parametrize("verb", ["commit", "rebase"])
def test_a_base_that_a_machine_writes_is_left_alone(folder, verb, capsys):
    with locked("block", "file:path=a.img"):
        assert main(["overlay", verb, "a.top", "a.img"]) == 2
    assert "file a.img is in use by " in capsys.readouterr().err
    assert (folder / "a.img").read_bytes()[:3] == b"old"
    assert main(["overlay", verb, "a.top", "a.img"]) == 0
