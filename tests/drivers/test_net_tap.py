"""Against real TAP interfaces, in a network namespace in which we may do everything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.interface import DriverError, Keep, SpecError
from drivers.registry import check, make

KEEP = Keep(Path("/nonexistent"))
START = """
import fcntl, os, select, socket, subprocess, sys, threading
from pathlib import Path
from drivers.interface import DriverError, Keep, MediumError
from drivers.registry import make
def ip(*words):
    subprocess.run(("ip", *words), check=True)
def tap(options=""):
    return make("net", "tap:ifname=tap0" + options, Keep(Path("/nonexistent")))
def refusal(what):
    try:
        what()
    except (DriverError, MediumError) as error:
        return str(error)
    raise AssertionError("not refused")
"""


@pytest.fixture
def inside():
    """Runs Python in a namespace of its own; what it prints."""
    if shutil.which("ip") is None:
        pytest.skip("no ip: apt-get install iproute2")
    wrapper = ["unshare", "--map-root-user", "--net"]
    tried = subprocess.run(
        [*wrapper, "ip", "tuntap", "add", "dev", "t", "mode", "tap"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no TAP interface in a network namespace: {tried.stderr.strip()}")

    def run(code, *before):
        done = subprocess.run(
            [*wrapper, *before, sys.executable, "-c", START + code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_frames_go_to_the_hosts_stack_and_back(inside):
    said = inside("""
ip("tuntap", "add", "dev", "tap0", "mode", "tap")
ip("addr", "add", "10.0.0.1/24", "dev", "tap0")
ip("link", "set", "tap0", "mtu", "1400", "up")
driver = tap()
driver.begin()
got, news = [], threading.Condition()
def take(frames):
    with news:
        got.extend(frames)
        news.notify_all()
driver.start(take, lambda: None)
mac = bytes.fromhex("525400123456")
ask = b"\\0\\1\\x08\\0\\6\\4\\0\\1" + mac + bytes((10,0,0,2)) + bytes(6) + bytes((10,0,0,1))
driver.send([memoryview(b"\\xff" * 6 + mac + b"\\x08\\x06" + ask)])
with news:
    assert news.wait_for(lambda: any(f[:6] == mac and f[20:22] == b"\\0\\2" for f in got), 30)
driver.close()
print(driver.mtu)
""")
    assert said == "1400"


def test_a_standby_may_look_while_another_has_it_and_take_it_when_that_is_gone(inside):
    said = inside("""
ip("tuntap", "add", "dev", "tap0", "mode", "tap")
first, standby = tap(), tap()
first.begin()
print(refusal(standby.begin))
first.close()
standby.close()
third = tap()
third.begin()
third.close()
""")
    assert said.startswith("TAP interface tap0 is in use by another process: ")


def test_one_that_is_missing_is_made_and_stays(inside):
    said = inside("""
driver = tap(",mtu=9000")
driver.begin()
driver.send([memoryview(bytes(60))])
driver.close()
print(subprocess.run(["ip", "-o", "link", "show", "tap0"], capture_output=True, text=True).stdout)
""")
    assert "mtu 9000" in said
    assert "UP" in said


def test_one_that_is_down_says_how_to_bring_it_up(inside):
    said = inside("""
ip("tuntap", "add", "dev", "tap0", "mode", "tap")
driver = tap()
driver.begin()
print(refusal(lambda: driver.send([memoryview(bytes(60))])))
driver.close()
""")
    assert said.endswith("bring it up with 'ip link set tap0 up'")


def test_one_that_is_taken_away_is_a_cable_that_is_out(inside):
    said = inside("""
ip("tuntap", "add", "dev", "tap0", "mode", "tap")
driver = tap()
driver.begin()
changed = threading.Event()
driver.start(lambda frames: None, changed.set)
ip("link", "del", "tap0")
print(changed.wait(30), driver.link)
driver.close()
""")
    assert said == "True False"


def test_what_is_no_tap_is_named(inside):
    said = inside("""
ip("tuntap", "add", "dev", "tap0", "mode", "tun")
driver = tap()
print(refusal(driver.begin))
driver.close()
""")
    assert said.startswith("TAP interface tap0 is no TAP interface with one queue")


def test_without_the_right_to_make_it_the_cure_is_named(inside):
    without = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-all")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv: apt-get install util-linux")
    said = inside("print(refusal(tap))", *without)
    assert "ip tuntap add dev tap0 mode tap user $USER" in said


@pytest.mark.parametrize("name", ["0123456789abcdef", "a/b", "..", "a b"])
def test_a_name_that_no_interface_can_have_is_refused(name):
    with pytest.raises(SpecError, match="at most 15 letters"):
        check("net", f"tap:ifname={name}")


def test_the_module_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("drivers.net_tap.DEVICE", Path("/nonexistent/tun"))
    monkeypatch.setattr("drivers.net_tap._exists", lambda name: True)
    with pytest.raises(DriverError, match="load the module tun"):
        make("net", "tap:ifname=tap0", KEEP)
