"""Starts and ends of machines that wait for a driver that hangs, or for a service OS."""

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
        at: str
    size, readonly, identity = 1 << 20, False, "clinging"
    def __init__(self, options):
        self.at = options.at
        self.come("open")
    def come(self, place):
        if self.at == place:
            threading.Event().wait()
    def begin(self):
        self.come("begin")
    def read(self, offset, into):
        into[:] = bytes(len(into))
    def write(self, offset, data):
        pass
    def flush(self):
        pass
    def close(self):
        self.come("close")
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
    """A driver that never comes back from one of its methods."""
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
    with splitvisor.start("up", machine('driver = "clinging", at = "close"')) as up:
        up.until("machine lab runs")
        pid = pid_of_service(splitvisor)
        words = f"service OS storage: pid {pid} (epoch 1) is to close its devices, and is waited"
        with splitvisor.start("stop") as stop:
            for waiting in (stop, up):
                assert re.search(r"for: 1[0-8] s at most$", waiting.until(words))
            up.signal(signal.SIGTERM)  # not any longer
            assert stop.end()[0] == 0
        assert up.end()[0] == 0


def test_one_that_is_stopped_is_waited_for_only_by_its_guest(splitvisor, machine):
    with splitvisor.start("up", machine('driver = "memory", size = "1M"')) as up:
        up.until("machine lab runs")
        pid = pid_of_service(splitvisor)
        os.kill(pid, signal.SIGSTOP)
        words = f"pid {pid} (epoch 1) is to answer what is left at device web/hvc0, and is waited"
        with splitvisor.start("stop") as stop:
            for waiting in (stop, up):
                assert re.search(r"for: [0-4] s at most$", waiting.until(words))
            assert stop.end()[0] == 0
        status, _, errors = up.end()
    assert status == 0
    assert "is to close its devices" not in errors


@pytest.mark.parametrize(("at", "doing"), [("open", "opening"), ("begin", "beginning")])
@pytest.mark.parametrize("verb", ["up", "run"])
def test_a_driver_that_hangs_is_named_while_the_guest_starts(
    splitvisor, machine, clinging, tmp_path, interrupted, verb, at, doing
):
    words = f"(epoch 1) waits for the driver of device {{}}/disk0: clinging has been {doing} for "
    if verb == "up":
        command, guest = ["up", machine(f'driver = "clinging", at = "{at}"')], "web"
    else:
        quiet = ("--console", f"log:path={tmp_path / 'out'}", "--no-standby", "--no-watchdog")
        command = ["run", GUESTS / "echo", "--disk", f"clinging:at={at}", *quiet]
        guest = "echo"
    with splitvisor.start(*command) as started:
        assert re.search(r"for [2-9]\.\d s$", started.until(words.format(guest)))
        started.errors = ""
        started.signal(signal.SIGINT)
        started.until(words.format(guest))  # which holds the end up too
        assert interrupted(started)[0] == 130  # not any longer
