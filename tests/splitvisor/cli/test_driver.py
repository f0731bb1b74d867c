import json
import os
import shutil
import subprocess
import sys

import pytest

from drivers import registry
from splitvisor import trial_import
from splitvisor.cli.driver_facts import example_of, installed, options_of
from splitvisor.cli.driver_templates import DRIVERS
from splitvisor.cli.main import main
from splitvisor.conformance.run import KINDS
from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.locks import Locks


@pytest.fixture
def splitvisor(tmp_path, monkeypatch, capsys):
    """Run a command in `tmp_path`: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main([*arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_ls_has_each_driver_with_its_package(splitvisor):
    status, said, _ = splitvisor("driver", "ls")
    assert status == 0
    for kind in KINDS:
        for name in registry.names(kind):
            assert f"\n{kind}.{name} " in said
    assert "A disk in a raw image file, or a block device of the host" in said
    _, said, _ = splitvisor("driver", "ls", "--kind", "clock", "--json")
    found = json.loads(said)["drivers"]
    assert {(d["kind"], d["package"]) for d in found} == {("clock", "splitvisor")}
    assert [d["name"] for d in found] == registry.names("clock")
    assert "did you mean 'block'?" in splitvisor("driver", "ls", "--kind", "blok")[2]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Have these drivers, as pip would leave them, all of one module with this text."""
    site = tmp_path / "site"
    info = site / "mistaken-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: mistaken\nVersion: 1\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "mistaken", raising=False)

    def installed(text, *names):
        (site / "mistaken.py").write_text(text)
        lines = [f"{name} = mistaken:{name.partition('.')[2]}\n" for name in names]
        (info / "entry_points.txt").write_text("[splitvisor.drivers]\n" + "".join(lines))
        sys.path_importer_cache.pop(str(site), None)

    yield installed
    sys.modules.pop("mistaken", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "raise SystemExit('no license')",
            "clock driver 'Broken' (mistaken:Broken) cannot be loaded: SystemExit: no license",
        ),
        (
            "import os; os._exit(3)",
            "clock driver 'Broken' (mistaken:Broken) cannot be loaded: importing it ends the"
            " process (status 3): have the module only define things",
        ),
        (
            "import os; os.abort()",
            "clock driver 'Broken' (mistaken:Broken) cannot be loaded: importing it ends the"
            " process (signal 6): have the module only define things",
        ),
        (
            "import threading; threading.Event().wait()",
            "clock driver 'Broken' (mistaken:Broken) cannot be loaded: importing it takes more than"
            " 1 s: have the module only define things",
        ),
    ],
)
def test_ls_tells_of_a_driver_that_ends_or_blocks_who_imports_it_and_lists_the_others(
    splitvisor, install, monkeypatch, text, why
):
    if "wait" in text:
        monkeypatch.setattr(trial_import, "PATIENCE", 1.0)
    install(text, "clock.Broken")
    status, said, _ = splitvisor("driver", "ls", "--kind", "clock", "--json")
    assert status == 0
    problems = {d["name"]: d["problem"] for d in json.loads(said)["drivers"]}
    assert problems.pop("Broken") == why
    assert "system" in problems
    assert not any(problems.values())
    said = f"splitvisor: driver 'clock.Broken' cannot be used: {why}\n"
    assert splitvisor("driver", "show", "clock.Broken") == (2, "", said)
    assert splitvisor("driver", "test", "--kind", "clock", "Broken")[1:] == (
        "",
        f"splitvisor: {why}\n",
    )


def test_what_a_module_prints_is_no_answer(splitvisor, install):
    install("print('hello')", "clock.Talker")
    status, said, errors = splitvisor("driver", "ls", "--kind", "clock", "--json")
    assert status == 0
    assert "Talker" in [d["name"] for d in json.loads(said)["drivers"]]
    assert errors == "hello\n"


MISTAKEN = """
from dataclasses import dataclass
five = 5
class Bare:
    pass
class Unknown:
    @dataclass
    class Options:
        n: "Nobody"
class Typed:
    @dataclass
    class Options:
        n: dict
class Defaulted:
    @dataclass
    class Options:
        n: int = "abc"
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("five", "is no driver: it is no class, but of type int"),
        ("Bare", "is no driver: the class has no dataclass Options"),
        ("Unknown", "NameError: name 'Nobody' is not defined"),
        ("Typed", "option 'n' is of a type that no text is read as: dict"),
        ("Defaulted", "option 'n' has the default 'abc', which is not of its type int"),
    ],
)
def test_a_class_that_is_no_driver_is_told_in_one_line(splitvisor, install, name, words):
    install(MISTAKEN, f"block.{name}")
    guest = ("run", "/nonexistent/guest", "--disk", name)
    for command in (("driver", "show", f"block.{name}"), ("driver", "test", name), guest):
        status, _, said = splitvisor(*command)
        assert status == 2
        assert f"block driver '{name}' (mistaken:{name})" in said
        assert words in said
        assert said.count("\n") == 1
    status, said, _ = splitvisor("driver", "ls", "--json")
    problems = {f"{d['kind']}.{d['name']}": d["problem"] for d in json.loads(said)["drivers"]}
    assert status == 0
    assert words in problems.pop(f"block.{name}")
    assert problems["block.file"] == problems["clock.system"] == ""


def test_ls_tells_of_a_kind_that_no_device_is_of(splitvisor, install):
    install(MISTAKEN, "floppy.Bare")
    status, said, _ = splitvisor("driver", "ls", "--kind", "floppy")
    assert status == 0
    assert "no device is of kind 'floppy' (known: block, " in said
    status, _, said = splitvisor("driver", "show", "floppy.Bare")
    assert status == 2
    assert "'floppy.Bare' cannot be used: no device is of kind 'floppy' (known: block, " in said


def test_ls_tells_of_an_entry_point_without_a_kind(splitvisor, install):
    install(MISTAKEN, "bare_disk")
    _, said, _ = splitvisor("driver", "ls", "--json")
    (found,) = [d for d in json.loads(said)["drivers"] if d["name"] == "bare_disk"]
    assert found["problem"] == (
        "no driver is called so: name its entry point KIND.NAME, as block.bare_disk"
    )
    assert "\nbare_disk " in splitvisor("driver", "ls")[1]


ANSWERING = """
from dataclasses import dataclass
class Choosy:
    @dataclass
    class Options:
        n: int = 0
        def __post_init__(self):
            1 / self.n
class Claiming:
    @dataclass
    class Options:
        pass
    def claims(options):
        return options.path
class Leaving:
    @dataclass
    class Options:
        pass
    def claims(options):
        raise SystemExit
class Numbered:
    @dataclass
    class Options:
        pass
    def content(options):
        return 42
class Claimed:
    @dataclass
    class Options:
        pass
    def claims(options):
        return ["/dev/sda"]
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Choosy", "Options raise ZeroDivisionError: division by zero (ValueError refuses a val"),
        ("Claiming", "claims() of the driver mistaken:Claiming raises AttributeError: "),
        ("Leaving", "claims() of the driver mistaken:Leaving raises SystemExit\n"),
        ("Numbered", "content() of the driver mistaken:Numbered gives 42: no text"),
        ("Claimed", "claims() of the driver mistaken:Claimed gives ['/dev/sda']: no sequence of"),
    ],
)
def test_a_driver_that_raises_before_it_is_opened_is_told_in_one_line(
    splitvisor, install, tmp_path, name, words
):
    install(ANSWERING, f"block.{name}")
    (tmp_path / "guest").touch()
    for command in (("driver", "test", name), ("run", "guest", "--disk", name)):
        status, _, said = splitvisor(*command)
        assert status == 2
        assert words in said
        assert said.count("\n") == 1


def test_each_driver_says_what_it_is():
    for facts in installed():
        assert facts.problem or facts.summary, facts


def test_show_has_options_with_types_defaults_and_help(splitvisor):
    status, said, _ = splitvisor("driver", "show", "block.throttle")
    assert status == 0
    lines = [line.split() for line in said.splitlines()]
    assert ["child", "driver", "needed"] in lines
    (burst,) = [line for line in lines if line[:1] == ["burst"]]
    assert " ".join(burst) == "burst time, as 5ms 100ms of full speed after a pause"
    assert said.endswith("With what is needed: throttle:child=(...)\n")
    _, said, _ = splitvisor("driver", "show", "block.overlay", "--json")
    (cluster,) = [o for o in json.loads(said)["options"] if o["name"] == "cluster"]
    assert cluster == {"name": "cluster", "type": "size, as 64M", "default": "64K", "help": ""}
    assert splitvisor("driver", "show", "entropy.system")[1].endswith("no options: system\n")


def test_a_driver_that_is_not_there_is_named_with_the_nearest(splitvisor):
    status, _, said = splitvisor("driver", "show", "block.fiel")
    assert status == 2
    assert "no driver 'block.fiel', did you mean 'block.file'?" in said


def test_an_example_is_a_spec():
    assert example_of("file", options_of(registry.find("block", "file"))) == "file:path=PATH"


def test_test_asks_before_anything_is_lost(splitvisor, tmp_path):
    (tmp_path / "a.img").write_bytes(b"precious".ljust(1 << 20))
    status, _, said = splitvisor("driver", "test", "file:path=a.img")
    assert status == 2
    assert f"what is in {tmp_path}/a.img may be lost: say --yes if it may" in said
    assert (tmp_path / "a.img").read_bytes().startswith(b"precious")


def test_test_asks_before_what_a_server_has_is_lost(splitvisor, tmp_path):
    spec = f"nbd:socket={tmp_path}/x.sock"
    status, _, said = splitvisor("driver", "test", spec)
    assert status == 2
    assert f"what is in NBD server unix:{tmp_path}/x.sock may be lost: say --yes" in said


def test_test_refuses_a_disk_that_is_in_use(splitvisor, tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    device = Device("disk0", Model.BLOCK, f"file:path={tmp_path}/a.img")
    with Locks() as locks:
        locks.take(Machine("lab", (Guest("web", tmp_path, devices=(device,)),)))
        status, _, said = splitvisor("driver", "test", "--yes", "file:path=a.img")
    assert status == 2
    assert f"{tmp_path}/a.img is in use" in said


def test_test_tells_of_each_check_and_ends_with_a_verdict(splitvisor, tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    spec = ("--check", "reads_anywhere", "--check", "is_unchanged_if_readonly", "file:path=a.img")
    status, said, _ = splitvisor("driver", "test", "--yes", *spec)
    assert status == 0
    assert said == (
        "passed  reads_anywhere\n"
        "skipped is_unchanged_if_readonly: the disk can be written\n"
        "PASS: 1 passed, 0 failed, 1 skipped\n"
    )
    status, said, _ = splitvisor("driver", "test", "--yes", "--json", *spec)
    found = json.loads(said)
    assert found["passed"]
    assert [c["outcome"] for c in found["checks"]] == ["passed", "skipped"]
    opens = splitvisor("driver", "test", "--yes", "--check", "opens", "file:path=a.img")
    assert opens == (0, "passed  opens\nPASS: 1 passed, 0 failed, 0 skipped\n", "")
    wrong = ["--check", "reads_anywhere", "--check", "read_anywhere"]
    status, _, said = splitvisor("driver", "test", "--yes", *wrong, "file:path=a.img")
    words = "splitvisor: no check of block drivers is called read_anywhere, did you mean"
    assert (status, said.startswith(words)) == (2, True)


def test_test_ends_with_1_if_a_check_fails(splitvisor, tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(1 << 20))
    (tmp_path / "script").write_text("discard 1 error\n")
    spec = "faulty:script=script,child=(file:path=a.img)"
    status, said, _ = splitvisor("driver", "test", "--yes", "--check", "discards", spec)
    assert status == 1
    assert "failed  discards: MediumError: " in said
    assert said.endswith("FAIL: 0 passed, 1 failed, 0 skipped\n")


def test_what_cannot_be_tested_is_refused_in_one_line(splitvisor, tmp_path):
    (tmp_path / "small.img").write_bytes(bytes(1 << 19))
    for spec, words in (
        ("file:path=none.img", "does not exist"),
        ("fiel:path=a.img", "did you mean 'file'"),
        ("pivot:child=(file:path=small.img)", "it is tried with 'migrate:source=(...)"),
        ("file:path=small.img", "a disk of 524288 bytes is too small for the checks"),
    ):
        status, _, said = splitvisor("driver", "test", "--yes", spec)
        assert status == 2
        assert words in said
        assert said.count("\n") == 1


UNFINISHED = """
import sys
from dataclasses import dataclass
class Exits:
    @dataclass
    class Options:
        pass
    def __init__(self, options):
        sys.exit("bye")
class Empty(Exits):
    def __init__(self, options):
        pass
class Big(Empty):
    size = "big"
    def read(self, offset, into):
        pass
    write = flush = read
    def close(self):
        pass
class Odd(Big):
    size = 1000
class Coloured(Exits):
    def __init__(self, options):
        raise ValueError("\\x1b[31mred")
"""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Exits", "SystemExit: bye at mistaken.py:9"),
        ("Empty", "it has no method close, flush, read, write"),
        ("Big", "size 'big' is no number of bytes"),
        ("Odd", "size 1000 is not a multiple of 512"),
        ("Coloured", r"ValueError: \x1b[31mred at mistaken.py:24"),
    ],
)
def test_a_driver_that_opens_wrongly_gets_a_verdict(splitvisor, install, name, why):
    install(UNFINISHED, f"block.{name}")
    status, said, _ = splitvisor("driver", "test", "--yes", name)
    first, second, verdict = said.splitlines()
    assert status == 1
    assert first == f"failed  opens: {why}"
    assert second.startswith("        demanded: It opens and closes, has all methods of a block ")
    assert verdict == "FAIL: 0 passed, 1 failed, 0 skipped"


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_new_driver_passes_its_own_test(kind, splitvisor, tmp_path):
    status, said, _ = splitvisor("driver", "new", "my_thing", "--kind", kind, "--dir", "p")
    assert (status, said) == (0, "p: pyproject.toml, my_thing.py, test_my_thing.py\n")
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy("p/my_thing.py", site)
    info = site / "my_thing-0.1.0.dist-info"
    info.mkdir()
    entry = f"[splitvisor.drivers]\n{kind}.my_thing = my_thing:MyThing\n"
    (info / "entry_points.txt").write_text(entry)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "p"],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-Disk", "use at most 32 of a-z"),
        ("class", "is Python's"),
        ("socket", "is Python's"),
        ("drivers", "is Python's or splitvisor's"),
        ("null", "there is a block driver 'null' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name, words, splitvisor):
    status, _, said = splitvisor("driver", "new", name)
    assert status == 2
    assert words in said


def test_what_is_there_is_not_overwritten(splitvisor, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text("precious")
    status, _, said = splitvisor("driver", "new", "mine")
    assert (status, said) == (
        2,
        "splitvisor: mine is there already: name another folder with --dir\n",
    )
