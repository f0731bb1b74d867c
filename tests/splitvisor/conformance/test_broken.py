"""The kit catches what it is there to catch: for each check there is a driver that it refuses."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from splitvisor.conformance import checks
from splitvisor.conformance.contract import ALL, checks_of
from splitvisor.conformance.run import KINDS

HERE = Path(__file__).parent


MODULES = {
    "broken_drivers": "broken.py",
    "broken_folders": "broken_folders.py",
    "broken_copies": "broken_copies.py",
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / MODULES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOADED = [load(name) for name in MODULES]
BREAKS = [each for module in LOADED for each in module.BREAKS]
SOUND = LOADED[0].SOUND  # folders and copies are made from sound drivers that are there


def module_of(name):
    return next(module.__name__ for module in LOADED if hasattr(module, name))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of all attempts; the drivers are installed as pip would leave them."""
    site = tmp_path_factory.mktemp("site")
    for module, file in MODULES.items():
        shutil.copy(HERE / file, site / f"{module}.py")
    names = {(kind, name) for kind, _, name in BREAKS} | {*SOUND}
    lines = sorted(f"{kind}.{name} = {module_of(name)}:{name}\n" for kind, name in names)
    info = site / "broken_drivers-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[splitvisor.drivers]\n" + "".join(lines))
    path = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / "attempts.py"), str(tmp_path_factory.mktemp("drivers"))],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("kind", "check", "name"), BREAKS, ids=lambda value: value)
def test_a_broken_driver_is_caught(kind, check, name, results):
    (found,) = [r for of, who, r in results if (of, who, r["check"]) == (kind, name, check)]
    assert found["outcome"] == "failed", found
    assert found["reason"]
    assert "\n" not in found["reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_check_has_a_driver_that_it_catches(kind):
    checks.load(kind)
    everywhere = {check for _, check, _ in BREAKS}
    here = {check for of, check, _ in BREAKS if of == kind}
    assert {c.name for c in checks_of(kind)} <= everywhere
    assert {c.name for c in checks_of(kind) if c.kind != ALL} <= here


@pytest.mark.parametrize(("kind", "name"), SOUND)
def test_a_sound_driver_passes(kind, name, results):
    found = [r for of, who, r in results if (of, who) == (kind, name)]
    checks.load(kind)
    assert len(found) == len(checks_of(kind))
    assert [r for r in found if r["outcome"] == "failed"] == []


def test_input_is_really_looked_at(results):
    (found,) = [r for _, who, r in results if (who, r["check"]) == ("Typist", "loses_no_input")]
    assert found["outcome"] == "passed", found


def test_what_is_left_is_named(results):
    found = {who: r["reason"] for _, who, r in results if who.startswith("Leaks")}
    assert "open descriptors" in found["LeaksDescriptors"]
    assert "threads" in found["LeaksThreads"]
    assert "processes" in found["LeaksProcesses"]


def test_a_driver_whose_process_dies_is_told_of(results):
    (found,) = [r for _, who, r in results if who == "Crashes"]
    assert found["reason"] == "its process ended by signal 6 (SIGABRT)"
