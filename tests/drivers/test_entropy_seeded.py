import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, make


def source(keep, seed=7):
    made = make("entropy", f"seeded:seed={seed}", Keep(keep))
    made.begin()
    return made


def take(made, count):
    into = bytearray(count)
    made.fill(memoryview(into))
    return bytes(into)


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=12))
def test_the_stream_is_one_whatever_the_requests_and_incarnations(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("seeded")
    whole = source(folder / "whole")
    made, got = source(folder / "keep"), b""
    for count, replaced in steps:
        got += take(made, count)
        if replaced:
            made.close()
            made = source(folder / "keep")
    made.close()
    assert got == take(whole, len(got))
    whole.close()


def test_another_seed_is_another_stream(tmp_path):
    made = [source(tmp_path / str(seed), seed) for seed in (7, 8)]
    first, second = (take(one, 64) for one in made)
    assert first != second
    assert first[:32] != first[32:]
    for one in made:
        one.close()


def test_a_standby_goes_on_where_the_one_before_it_ended(tmp_path):
    active = source(tmp_path / "keep")
    standby = make("entropy", "seeded:seed=7", Keep(tmp_path / "keep"))
    first = take(active, 100)
    standby.begin()
    second = take(standby, 100)
    whole = source(tmp_path / "whole")
    assert first + second == take(whole, 200)
    for one in (active, standby, whole):
        one.close()


CHILD = """
import os, sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
made = make("entropy", "seeded:seed=7", Keep(Path(sys.argv[1])))
made.begin()
while True:
    into = bytearray(8)
    made.fill(memoryview(into))
    os.write(1, into)
"""


def test_who_is_killed_never_makes_it_repeat_and_at_most_one_request_is_skipped(tmp_path):
    given_out = []
    for asked in (1, 50, 500):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "keep")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            got = b""
            while len(got) < asked * 8:
                got += os.read(child.stdout.fileno(), asked * 8)
            child.send_signal(signal.SIGKILL)
            got += child.stdout.read()
        given_out.append(got)
    whole = source(tmp_path / "whole")
    stream = take(whole, sum(map(len, given_out)) + 64)
    whole.close()
    end = 0
    for got in given_out:
        at = stream.index(got)
        assert end <= at <= end + 8
        end = at + len(got)


def test_a_place_that_cannot_be_made_and_a_missing_seed_are_said(tmp_path):
    with pytest.raises(DriverError, match="cannot be made: No such file or directory; the machine"):
        make("entropy", "seeded:seed=7", Keep(tmp_path / "missing" / "keep"))
    with pytest.raises(SpecError, match="needs the option 'seed': add seed="):
        check("entropy", "seeded")
