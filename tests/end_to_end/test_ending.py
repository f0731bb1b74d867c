"""The end of a machine whose service OS does not end."""

import json
import os
import re
import signal

import pytest

from tests.end_to_end.conftest import GUESTS

DRIVER = """
import threading
from dataclasses import dataclass
class Clinging:
    @dataclass
    class Options:
        pass
    size, readonly, identity = 1 << 20, False, "clinging"
    def __init__(self, options):
        pass
    def read(self, offset, into):
        into[:] = bytes(len(into))
    def write(self, offset, data):
        pass
    def flush(self):
        pass
    def close(self):
        threading.Event().wait()
"""
MACHINE = """
[services.storage]
standby = false
watchdog = false
[guests.web]
image = "{image}"
cpu = "emulated"
console = {{ driver = "log", path = "web.log", service = "storage" }}
com1 = false
entropy = {{ driver = "system", service = "storage" }}
disks = [{{ {disk}, service = "storage" }}]
"""


@pytest.fixture
def machine(tmp_path):
    """Writes the file of a machine with a disk of this driver."""

    def write(disk):
        file = tmp_path / "lab.toml"
        file.write_text(MACHINE.format(image=GUESTS / "echo", disk=disk))
        return file

    return write


@pytest.fixture
def clinging(tmp_path, monkeypatch):
    """A driver that never comes back from `close`."""
    site = tmp_path / "site"
    (site / "clinging-1.dist-info").mkdir(parents=True)
    (site / "clinging-1.dist-info" / "METADATA").write_text("Name: clinging\nVersion: 1\n")
    entry = "[splitvisor.drivers]\nblock.clinging = clinging:Clinging\n"
    (site / "clinging-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "clinging.py").write_text(DRIVER)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([before] if before else [])]))


def pid_of_service(splitvisor):
    _, output, _ = splitvisor("service", "status", "--json")
    return json.loads(output)["services"][0]["pid"]


def test_who_hangs_in_close_is_named_to_all_who_wait(splitvisor, machine, clinging):
    with splitvisor.start("up", machine('driver = "clinging"')) as up:
        up.until("machine lab runs")
        pid = pid_of_service(splitvisor)
        words = f"service OS storage: pid {pid} (epoch 1) is to close its devices, and is waited"
        with splitvisor.start("stop") as stop:
            for waiting in (stop, up):
                assert re.search(r"for: 1[0-8] s at most$", waiting.until(words))
            up.signal(signal.SIGTERM)  # not any longer
            assert stop.end()[0] == 0
        assert up.end()[0] == 0


def test_one_that_is_stopped_is_not_waited_for(splitvisor, machine):
    with splitvisor.start("up", machine('driver = "memory", size = "1M"')) as up:
        up.until("machine lab runs")
        os.kill(pid_of_service(splitvisor), signal.SIGSTOP)
        assert splitvisor("stop")[0] == 0
        status, _, errors = up.end()
    assert status == 0
    assert "waited for" not in errors
