"""A device of a kind that nobody here knows, brought by a package that somebody installs."""

import os
import subprocess
import sys

import pytest

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "calculator"
version = "1"
[tool.setuptools]
py-modules = ["calculator"]
[project.entry-points."splitvisor.drivers"]
"virtio.calculator" = "calculator:Calculator"
"""
MODULE = """
import struct
from dataclasses import dataclass
from drivers.interface import VirtioQueue
class Calculator:
    @dataclass(frozen=True)
    class Options:
        bias: int = 0
        id: int = 42
    features, queues = 1, (VirtioQueue(8),)
    def __init__(self, options):
        self.device_id = options.id
        self._bias = options.bias
        self.config = struct.pack("<Q", options.bias)
    def handle(self, queue, readable, writable):
        a, b = struct.unpack("<QQ", readable)
        writable[:8] = struct.pack("<Q", a + b + self._bias)
        return 8
    def close(self):
        pass
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the package is installed."""
    source = tmp_path_factory.mktemp("calculator")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "calculator.py").write_text(MODULE)
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*command, *options, source], check=True, timeout=100)
    return site


@pytest.fixture
def installed(site, monkeypatch):
    """Processes that this test starts find it."""
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([path] if path else [])]))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("payload", [[], ["--inline"]], ids=["window", "inline"])
def test_a_guest_finds_it_and_talks_to_it(splitvisor, guest, cpu, payload):
    words = ("--cpu", cpu, "--device", "calculator:bias=7", *payload)
    status, output, errors = splitvisor("run", guest("calculator"), *words)
    assert (status, errors) == (0, "")
    assert output == "calculator: features 1 bias 7\ncalculator: 100 sums\n"


@pytest.mark.usefixtures("installed")
def test_it_is_served_by_the_next_after_a_death(splitvisor, guest, cpu, tmp_path):
    log = f"log:path={tmp_path / 'log'}"
    words = ("--cpu", cpu, "--device", "calculator", "--console", log, "-v")
    with splitvisor.start("run", guest("calculator"), *words, "--", "sums=2M") as process:
        process.until("stands by")
        assert splitvisor("service", "kill")[::2] == (0, "")
        process.until("has done what was in flight")
        process.until("device device0: first completion by service, epoch 2")
        process.signal(2)
        assert process.end()[0] == 130
    assert (tmp_path / "log").read_text() == "calculator: features 1 bias 0\n"


MACHINE = """
[guests.one]
image = "{image}"
arguments = "id=43 sums=3"
console = "log:path=one.log"
com1 = false
clock = "frozen:at=2030-01-01T00:00:00"
[[guests.one.devices]]
driver = "calculator"
id = 43
name = "abacus"
"""


@pytest.mark.usefixtures("installed")
def test_a_machine_file_may_have_one(splitvisor, guest, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(MACHINE.format(image=guest("calculator")))
    status, _, errors = splitvisor("up", "--until-idle", file)
    assert status == 0, errors
    assert (tmp_path / "one.log").read_text().endswith("calculator: 3 sums\n")


@pytest.mark.usefixtures("installed")
def test_what_makes_no_sense_as_a_device_is_said_in_one_line(splitvisor, guest):
    status, output, errors = splitvisor("run", guest("calculator"), "--device", "calculator:id=0")
    assert (status, output) == (2, "")
    assert "device0: a virtio device cannot have the id 0: give one of 1 to 4294967295" in errors
    assert errors.count("\n") == 1


def test_a_device_that_is_not_installed_is_said_in_one_line(splitvisor, guest):
    status, output, errors = splitvisor("run", guest("calculator"), "--device", "calculator")
    assert (status, output) == (2, "")
    assert "no virtio driver 'calculator' (known: none)" in errors
    assert errors.count("\n") == 1
