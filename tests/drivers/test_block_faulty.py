import time

import pytest

from drivers.interface import PATIENCE, Claim, DriverError, Keep, MediumError, SpecError
from drivers.registry import check, claims, content, make

DATA = bytes(range(256)) * 16


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.img"
    path.write_bytes(bytes(1 << 20))
    return path


def spec(image, more):
    return f"faulty:{more},child=(file:path={image})"


@pytest.fixture
def opened(image, tmp_path):
    disks = []

    def make_one(more):
        disks.append(make("block", spec(image, more), Keep(tmp_path / "keep")))
        disks[-1].begin()
        return disks[-1]

    yield make_one
    for disk in disks:
        disk.close()


def script(tmp_path, *lines):
    path = tmp_path / "script"
    path.write_text("\n".join(lines))
    return f"script={path}"


def outcome(call, *arguments):
    try:
        call(*arguments)
    except MediumError as error:
        return str(error)
    return "done"


def test_what_is_in_the_script_happens_and_nothing_else(opened, image, tmp_path):
    disk = opened(script(tmp_path, "write 2 error", "read 2 error", "flush 1 error"))
    data, into = memoryview(DATA), memoryview(bytearray(4096))
    said = [outcome(disk.write, i * 4096, data) for i in range(3)]
    assert said == ["done", "write 2 was to fail", "done"]
    assert image.read_bytes()[: 3 * 4096] == DATA + bytes(4096) + DATA
    assert [outcome(disk.read, 0, into) for _ in range(3)] == ["done", "read 2 was to fail", "done"]
    assert [outcome(disk.flush) for _ in range(2)] == ["flush 1 was to fail", "done"]
    assert bytes(into) == DATA


@pytest.mark.parametrize(("torn", "whole"), [(0, 0), (512, 512), (2048, 2048), (9216, 3584)])
def test_a_torn_write_is_the_first_sectors_and_an_error(opened, image, tmp_path, torn, whole):
    disk = opened(script(tmp_path, f"write 1 torn {torn}"))
    said = outcome(disk.write, 4096, memoryview(DATA))
    assert said == f"write 1 was torn behind {whole} bytes"
    assert image.read_bytes()[4096:8192] == DATA[:whole].ljust(4096, b"\0")


def test_a_delay_takes_its_time_and_is_no_hang(opened, tmp_path):
    disk = opened(script(tmp_path, "read 2 delay 60ms") + ",delay=1ms")
    assert disk.patience == pytest.approx(PATIENCE + 0.061)
    into = memoryview(bytearray(512))
    disk.read(0, into)
    began = time.monotonic()
    disk.read(0, into)
    assert time.monotonic() - began >= 0.06


def test_zeroes_and_discards_are_counted_by_themselves(opened, tmp_path):
    disk = opened(script(tmp_path, "zeroes 1 error", "discard 2 error"))
    assert outcome(disk.write_zeroes, 0, 4096, True) == "zeroes 1 was to fail"
    assert outcome(disk.write_zeroes, 0, 4096, True) == "done"
    assert outcome(disk.discard, 0, 4096) == "done"
    assert outcome(disk.discard, 0, 4096) == "discard 2 was to fail"


def run(disk):
    data, into = memoryview(DATA), memoryview(bytearray(4096))
    said = []
    for i in range(200):
        said.append(outcome(disk.write, i * 4096, data))
        said.append(outcome(disk.read, i * 4096, into))
    return said


def test_the_seed_decides_in_each_incarnation_alike(opened):
    said = run(opened("seed=7,errors=0.05,torn=0.05"))
    assert run(opened("seed=7,errors=0.05,torn=0.05")) == said
    assert run(opened("seed=8,errors=0.05,torn=0.05")) != said
    assert len(set(said)) > 10
    assert set(run(opened("seed=7"))) == {"done"}


def test_what_it_says_of_itself(image, tmp_path):
    text = spec(image, script(tmp_path, "read 1 error"))
    assert list(claims("block", text)) == [
        Claim(tmp_path / "script", False),
        Claim(image, True),
    ]
    assert content("block", text) == content("block", f"file:path={image}") != ""


def test_chances_that_are_none_are_refused(image):
    with pytest.raises(SpecError, match=r"errors=2\.0 is no chance: give it from 0 to 1"):
        check("block", spec(image, "errors=2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "is no text"),
        (b"read 1 eror", ", line 1: there is no fault 'eror', did you mean 'error'?"),
    ],
)
def test_a_script_of_no_use_is_refused(image, tmp_path, text, words):
    path = tmp_path / "script"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DriverError) as refusal:
        make("block", spec(image, f"script={path}"), Keep(tmp_path / "keep"))
    assert str(refusal.value).startswith(f"script {path}")
    assert words in str(refusal.value)
