import os
import signal
import subprocess
import sys

import pytest

from drivers.notes import Notes


def found(path):
    notes = Notes(path)
    notes.close()
    return notes.found


def test_what_was_noted_is_found_in_its_order(tmp_path):
    path = tmp_path / "notes"
    notes = Notes(path)
    notes.add(b"one")
    notes.add(b"2" * 100_000)
    assert notes.size == path.stat().st_size
    notes.close()
    notes = Notes(path)
    assert notes.found == [b"one", b"2" * 100_000]
    notes.add(b"three")
    notes.close()
    assert found(path)[2:] == [b"three"]


def test_others_take_their_place(tmp_path):
    path = tmp_path / "notes"
    notes = Notes(path)
    notes.add(b"one" * 100)
    notes.replace([b"2", b"3"])
    notes.add(b"4")
    notes.close()
    assert found(path) == [b"2", b"3", b"4"]
    assert os.listdir(tmp_path) == ["notes"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_record_that_was_cut_off_is_not_there_and_the_next_one_is(tmp_path, cut):
    path = tmp_path / "notes"
    notes = Notes(path)
    notes.add(b"one")
    notes.add(b"two.")
    notes.close()
    os.truncate(path, path.stat().st_size - cut)
    notes = Notes(path)
    assert notes.found == [b"one"]
    notes.add(b"next")
    notes.close()
    assert found(path) == [b"one", b"next"]


def test_what_is_not_as_it_was_written_is_not_believed(tmp_path):
    path = tmp_path / "notes"
    notes = Notes(path)
    notes.add(b"one")
    notes.add(b"two")
    notes.close()
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole + bytes(100))
    assert found(path) == [b"one"]


CHILD = """
import os, sys
from pathlib import Path
from drivers.notes import Notes
notes = Notes(Path(sys.argv[1]))
number = int(notes.found[-1][:8]) if notes.found else 0
while True:
    number += 1
    notes.add(b"%08d" % number + b"x" * 5000)
    if number % 50 == 0:
        notes.replace([b"%08d" % number])
    os.write(1, b"%08d" % number)
"""


def test_who_is_killed_has_noted_all_that_it_said(tmp_path):
    path = tmp_path / "notes"
    for _ in range(5):
        command = [sys.executable, "-c", CHILD, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            child.stdout.read(8 * 120)
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read()
        said = int(rest[-8:]) if rest else 0
        noted = [int(record[:8]) for record in found(path)]
        assert noted == list(range(noted[0], noted[-1] + 1))
        assert noted[-1] in (said, said + 1) or not rest
