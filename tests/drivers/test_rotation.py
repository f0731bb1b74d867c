import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, make
from drivers.rotation import Rotation


def contents(path):
    """The files of the log, oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.*"))
    return [file.read_bytes() for file in [*numbered, path] if file.exists()]


class Died(BaseException):
    """The process was killed here."""


@given(
    st.integers(1, 7),
    st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([None, "rename", "unlink"])), max_size=9
    ),
)
def test_each_byte_is_there_once_wherever_one_dies(tmp_path_factory, size, writes):
    path = tmp_path_factory.mktemp("log") / "log"
    log, put_out = Rotation(path, size, keep=1000), b""
    for i, (count, death) in enumerate(writes):
        data = bytes([i]) * count
        try:
            with pytest.MonkeyPatch.context() as patch:
                if death == "rename":  # renamed, and not yet made anew
                    patch.setattr("drivers.rotation._opened", dying)
                elif death:
                    patch.setattr(Rotation, "_numbers", dying)
                log.write(memoryview(data), len(put_out))
        except Died:
            log.close()
            log = Rotation(path, size, keep=1000)
            log.write(memoryview(data), len(put_out))
        log.write(memoryview(data), len(put_out))  # replayed
        put_out += data
    log.close()
    files = contents(path)
    assert b"".join(files) == put_out
    assert all(len(file) == size for file in files[:-1])
    assert len(files[-1]) <= size


def dying(*arguments):
    raise Died


def test_so_many_are_kept_and_strange_names_are_left_alone(tmp_path):
    path = tmp_path / "log"
    for name in ("log.1", "log.old", "other.000001"):
        (tmp_path / name).write_text("not ours")
    log = Rotation(path, 4, keep=2)
    log.write(memoryview(b"aaaabbbbccccddddee"), 0)
    log.close()
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert {name: text for name, text in found.items() if text != "not ours"} == {
        "log": "ee",
        "log.000003": "dddd",
        "log.000002": "cccc",
    }
    assert len(found) == 6


def test_another_machine_goes_on_behind_and_a_long_log_of_before_is_the_first(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"longer than a file may be")
    log = Rotation(path, 8, keep=3)
    assert log.end == 8
    log.write(memoryview(b"new"), log.end)
    log.close()
    log = Rotation(path, 8, keep=3)
    assert log.end == 11
    log.write(memoryview(b" and more"), log.end)
    log.close()
    assert contents(path) == [b"longer than a file may be", b"new and ", b"more"]


def test_what_cannot_be_renamed_is_tried_again(tmp_path):
    path = tmp_path / "log"
    log = Rotation(path, 4, keep=3)
    log.write(memoryview(b"aaaa"), 0)
    (tmp_path / "log.000000").mkdir()
    with pytest.raises(Exception, match="Is a directory"):
        log.write(memoryview(b"bb"), 4)
    (tmp_path / "log.000000").rmdir()
    log.write(memoryview(b"bb"), 4)
    log.close()
    assert contents(path) == [b"aaaa", b"bb"]


CHILD = """
import sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
log = make("console", f"log:path={sys.argv[1]}/log,rotate=4K,keep=1000", Keep(Path("/nowhere")))
log.begin()
position = int(sys.argv[2])
while True:
    data = b"".join(b"%07d\\n" % (i // 8) for i in range(position, position + 1024, 8))
    log.write(data, position)
    position += len(data)
    print(position, flush=True)
"""


def test_nothing_is_lost_or_doubled_under_sigkill(tmp_path):
    position = 0
    for writes in (1, 3, 20, 37):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(position)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for _ in range(writes):
                position = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
    text = b"".join(contents(tmp_path / "log")).decode()
    numbers = [int(line) for line in text.split("\n")[:-1]]
    assert numbers[: position // 8] == list(range(position // 8))
    assert numbers == list(range(len(numbers)))


def test_a_standby_looks_again_at_what_is_the_log_now(tmp_path):
    spec, keep = f"log:path={tmp_path / 'log'},rotate=4K", Keep(tmp_path / "keep")
    active, standby = make("console", spec, keep), make("console", spec, keep)
    active.begin()
    active.write(b"x" * 5000, 0)
    standby.begin()
    standby.write(b"y", 5000)
    assert standby.origin == 5000
    for log in (active, standby):
        log.close()
    assert contents(tmp_path / "log") == [b"x" * 4096, b"x" * 904 + b"y"]


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(SpecError, match="a log of 100 bytes is too small: rotate=4K at least"):
        check("console", "log:path=x,rotate=100")
    with pytest.raises(SpecError, match="keep=1"):
        check("console", "log:path=x,rotate=4K,keep=0")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DriverError, match="log /dev/null is no file, which rotate="):
        make("console", "log:path=/dev/null,rotate=4K", Keep(tmp_path / "keep"))
    assert os.listdir("/proc/self/fd") == before
