"""Bugs get in where they are to, and only there, and out again."""

import importlib
import os
import subprocess
import sys

import pytest

from microhypervisor.inflight import InflightLog
from tests.sensitivity.bugs import BUGS, find
from tests.sensitivity.plant import Bug, Edit, Misfit, environment, planted

LOG = "microhypervisor.inflight"


def bug(function, old, new):
    return Bug("test", "", (Edit(LOG, function, old, new),), None, "")


def test_a_bug_is_there_as_long_as_it_is_planted():
    before = vars(InflightLog)["settled"]
    with planted(bug("InflightLog.settled", "not self._orphans", "None")):
        assert InflightLog().settled is None
    assert vars(InflightLog)["settled"] is before
    assert InflightLog().settled is True


@pytest.mark.parametrize(
    ("function", "old", "problem"),
    [
        ("InflightLog.settled", "nobody wrote this", "0 times"),
        ("InflightLog.settled", "orphan", "2 times"),
        ("InflightLog.settle", "not", "has no InflightLog.settle"),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error(function, old, problem):
    with pytest.raises(Misfit, match=problem), planted(bug(function, old, "")):
        pass


def test_a_method_calls_the_function_that_has_its_name(tmp_path, monkeypatch):
    text = "def go():\n    return 1\nclass Car:\n    def go(self):\n        return go() + 1\n"
    (tmp_path / "cars.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    cars = importlib.import_module("cars")
    with planted(Bug("test", "", (Edit("cars", "Car.go", "+ 1", "+ 2"),), None, "")):
        assert cars.Car().go() == 3
    assert cars.Car().go() == 2


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_fits_the_code_that_is_there(bug):
    """Where a test fails for a misfit alone, it says nothing of the bug."""
    with planted(bug):
        pass


LOOK = """
import sys
import {module}
print([name for name in sys.modules if "sensitivity" in name and name.endswith("plant")])
from microhypervisor.inflight import InflightLog
print(InflightLog.begin_epoch.__code__.co_filename)
"""


@pytest.mark.parametrize(("module", "early"), [(LOG, True), ("drivers.options", False)])
def test_a_process_has_it_when_it_imports_what_is_changed(module, early):
    environ = environment(find("replay-backwards"), os.environ)
    command = [sys.executable, "-P", "-c", LOOK.format(module=module)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        str(["tests.sensitivity.plant"] if early else []),
        "<planted bug replay-backwards>",
    ]


def test_a_sitecustomize_that_is_there_already_is_run_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    environ = environment(find("replay-backwards"), {**os.environ, "PYTHONPATH": str(tmp_path)})
    command = [sys.executable, "-c", ""]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "mine\n"
