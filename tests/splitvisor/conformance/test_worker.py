"""A run in a process of its own, with less patience than a user's has."""

import json
import os
import subprocess
import sys

import pytest

DRIVERS = """
import threading
from dataclasses import dataclass
class Disk:
    @dataclass
    class Options:
        at: str = ""
    size, readonly, identity = 8 << 20, False, "blocks"
    def __init__(self, options):
        self.at = options.at
    def stop(self, at):
        if at == self.at:
            threading.Event().wait()
    def read(self, offset, into):
        self.stop("read")
    def write(self, offset, data):
        self.stop("write")
    def flush(self):
        pass
    def close(self):
        self.stop("close")
"""

RUN = """
import sys
from splitvisor.conformance import victims, worker
worker.LIMIT, victims.PATIENCE = map(float, sys.argv[1:3])
worker.main("block", sys.argv[3], sys.argv[4], "1", *sys.argv[5:])
"""


@pytest.fixture
def tried(tmp_path):
    """What is found of a spec, with seconds for a check and for a victim."""
    info = tmp_path / "blocks-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[splitvisor.drivers]\nblock.blocks = blocks:Disk\n")
    (tmp_path / "blocks.py").write_text(DRIVERS)
    folder = tmp_path / "folder"
    folder.mkdir()

    def run(spec, *only, limit=90, patience=30):
        words = [str(limit), str(patience), spec, str(folder), *only]
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUN, *words],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            stdout=subprocess.PIPE,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_a_driver_that_blocks_when_it_is_closed_ends_the_run_with_a_check_of_a_name(tried):
    (found,) = tried("blocks:at=close", limit=3)
    assert (found["check"], found["outcome"], found["blocked"]) == ("opens", "failed", True)
    assert found["reason"] == "it had not come back after 3 s; no other check is tried"


def test_no_check_is_tried_after_one_in_which_the_driver_blocks(tried):
    names = ("says_what_it_is", "reads_anywhere", "stores_what_is_written")
    first, last = tried("blocks:at=read", *names, limit=5)
    assert (first["check"], first["outcome"]) == ("says_what_it_is", "passed")
    assert (last["check"], last["outcome"], last["blocked"]) == ("reads_anywhere", "failed", True)


def test_a_driver_that_blocks_in_a_process_that_was_to_die_has_blocked(tried):
    (found,) = tried("blocks:at=write", "survives_sigkill", "refuses_in_one_line", patience=1)
    assert (found["check"], found["blocked"]) == ("survives_sigkill", True)
    assert found["reason"] == "the driver did nothing for 1 s; no other check is tried"


def test_a_check_that_fails_leaves_the_others_to_be_tried(tried):
    names = ("stores_what_is_written", "writes_twice_as_once")
    assert [found["check"] for found in tried("blocks", *names)] == [*names]
