import sys
import threading
from pathlib import Path

import pytest

from drivers.block_file import FileBlock
from drivers.interface import Claim, DriverError, Keep, SpecError
from drivers.registry import check, claims, find, make, names


def test_the_drivers_that_come_with_splitvisor_are_found():
    assert {"file", "memory", "null"} <= set(names("block"))
    assert {"log", "terminal"} <= set(names("console"))
    assert names("block") == sorted(names("block"))
    assert "system" in names("entropy")
    assert names("toaster") == []
    assert find("block", "file") is FileBlock


def test_an_unknown_driver_gets_the_nearest_match():
    with pytest.raises(SpecError, match=r"no block driver 'fiel', did you mean 'file'\? \(known: "):
        find("block", "fiel")
    with pytest.raises(SpecError, match=r"no toaster driver 'file' \(known: none\)"):
        find("toaster", "file")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "AttributeError: module 'ending' has no attribute 'Disk'"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_told_however_it_ends(tmp_path, monkeypatch, text, why):
    (tmp_path / "ending.py").write_text(text)
    (tmp_path / "ending-1.dist-info").mkdir()
    entry = "[splitvisor.drivers]\nblock.ending = ending:Disk\n"
    (tmp_path / "ending-1.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ending", raising=False)
    with pytest.raises(
        DriverError, match=r"block driver 'ending' \(ending:Disk\) cannot be"
    ) as raised:
        find("block", "ending")
    assert f"loaded: {why}" in str(raised.value)


ENDING = """
from dataclasses import dataclass, field
def end():
    raise {error}
class Disk:
    @dataclass
    class Options:
        n: int = {default}
        def __post_init__(self):
            {options}
    def claims(options):
        {claims}
    def content(options):
        {content}
"""
QUIET = {"default": "0", "options": "pass", "claims": "return ()", "content": "return ''"}


@pytest.fixture
def ending(tmp_path, monkeypatch):
    """Have a driver `ending` that raises an error at a place."""
    (tmp_path / "ending-1.dist-info").mkdir()
    entry = "[splitvisor.drivers]\nblock.ending = ending:Disk\n"
    (tmp_path / "ending-1.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ending", raising=False)

    def installed(error, place):
        acts = QUIET | {place: "field(default_factory=end)" if place == "default" else "end()"}
        (tmp_path / "ending.py").write_text(ENDING.format(error=error, **acts))

    yield installed
    sys.modules.pop("ending", None)


def refused_on_a_thread(spec):
    """What `check` says where no Ctrl-C ever arrives, as on a thread of the supervisor."""
    said = []

    def work():
        try:
            check("block", spec)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return said


@pytest.mark.parametrize("place", QUIET)
@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt", "GeneratorExit"])
def test_a_driver_that_wants_to_end_the_process_before_it_is_opened_is_told(ending, error, place):
    ending(error, place)
    said = refused_on_a_thread("ending")
    assert [type(one) for one in said] == [DriverError]
    assert error.partition("(")[0] in str(said[0])


@pytest.mark.parametrize("place", QUIET)
def test_ctrl_c_is_not_taken_for_a_drivers_mistake(ending, place):
    ending("KeyboardInterrupt", place)
    with pytest.raises(KeyboardInterrupt):
        check("block", "ending")


@pytest.mark.parametrize(
    ("error", "place"),
    [
        ("ValueError('\\x1b[2J\\n')", "options"),
        ("OSError('\\x1b[2J')", "options"),
        ("OSError('\\x1b[2J\\n')", "claims"),
        ("__import__('drivers.interface').interface.SpecError('\\x1b[2J\\n')", "content"),
    ],
)
def test_what_a_driver_says_is_one_line_that_no_terminal_obeys(ending, error, place):
    ending(error, place)
    with pytest.raises(DriverError) as raised:
        check("block", "ending")
    assert "\\x1b[2J" in str(raised.value)
    assert str(raised.value).isprintable()
    assert isinstance(raised.value, SpecError) == ("OSError" not in error)


def test_check_opens_nothing_and_finds_what_can_be_wrong_without():
    check("block", "file:path=/nonexistent/disk.img,readonly")
    for text in ("file", "file:path=x,reedonly", "memory:size=1000", "memory:size=0", "file:path="):
        with pytest.raises(SpecError):
            check("block", text)


def test_make_opens(tmp_path):
    disk = tmp_path / "a,b.img"
    disk.write_bytes(bytes(1024))
    driver = make("block", f'file:path="{disk}"', Keep(Path("/nonexistent")))
    assert driver.size == 1024
    driver.close()


def test_make_says_that_it_cannot_open():
    with pytest.raises(DriverError, match="does not exist") as raised:
        make("block", "file:path=/nonexistent/disk.img", Keep(Path("/nonexistent")))
    assert not isinstance(raised.value, SpecError)


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("block", "file:path=/x", [Claim(Path("/x"), exclusive=True)]),
        ("block", "file:path=/x,readonly", [Claim(Path("/x"), exclusive=False)]),
        ("console", "log:path=/x", [Claim(Path("/x"), exclusive=True)]),
        ("console", "terminal", []),
        ("block", "null:size=1M", []),
    ],
)
def test_claims_are_the_files_a_device_would_use(kind, spec, expected):
    assert list(claims(kind, spec)) == expected


def test_what_a_device_keeps_is_claimed_where_it_is():
    found = claims("block", "memory:size=1M", Keep(Path("/x")))
    assert list(found) == [Claim(Path("/x"), exclusive=True)]


def test_claims_of_a_wrong_spec_are_refused_like_the_spec():
    with pytest.raises(SpecError, match="no option 'reedonly'"):
        claims("block", "file:path=x,reedonly")


def test_a_stack_is_checked_to_its_ground_without_opening_anything():
    deep = "file:path=/x"
    with pytest.raises(SpecError, match="block driver 'file' has no option 'reedonly'") as raised:
        check("block", "throttle:iops=5,child=(throttle:iops=6,child=(file:path=/x,reedonly))")
    assert str(raised.value).startswith("block driver 'throttle': option 'child': block driver")
    with pytest.raises(SpecError, match=r"needs the option 'child': add child=\.\.\."):
        check("block", "throttle:iops=5")
    for _ in range(16):
        deep = f"throttle:iops=5,child=({deep})"
    with pytest.raises(SpecError, match="a stack of more than 16 drivers"):
        check("block", deep)
    assert list(claims("block", "throttle:iops=5,child=(file:path=/x)")) == [
        Claim(Path("/x"), True)
    ]
