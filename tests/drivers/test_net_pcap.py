import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import pcap
from drivers.interface import DriverError, Keep
from drivers.registry import make

KEEP = Keep(Path("/nonexistent"))
FRAMES = [bytes([n]) * (14 + n) for n in range(5)]


def opened(path, begin=True):
    driver = make("net", f"pcap:path={path},child=(null)", KEEP)
    if begin:
        driver.begin()
    return driver


def sent(path, frames):
    driver = opened(path)
    driver.send([memoryview(frame) for frame in frames])
    driver.close()


def frames_in(path):
    """What a reader of our own finds, which wants everything whole."""
    data = path.read_bytes()
    magic, major, minor, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B2C3D4, 2, 4, 1)
    found, at = [], 24
    while at < len(data):
        _, micro, captured, there = struct.unpack_from("<IIII", data, at)
        assert micro < 1_000_000
        assert captured == there
        assert at + 16 + captured <= len(data)
        found.append(data[at + 16 : at + 16 + captured])
        at += 16 + captured
    return found


def test_both_directions_are_in_the_file(tmp_path):
    path = tmp_path / "net.pcap"
    driver = opened(path)
    taken = []
    driver.child.start = lambda deliver, changed: setattr(driver, "arrive", deliver)
    driver.start(taken.extend, lambda: None)
    driver.send([memoryview(frame) for frame in FRAMES[:2]])
    driver.arrive(FRAMES[2:])
    driver.close()
    assert taken == FRAMES[2:]
    assert frames_in(path) == FRAMES


def test_the_next_goes_on_where_the_last_one_ended(tmp_path):
    path = tmp_path / "net.pcap"
    sent(path, FRAMES[:2])
    standby = opened(path, begin=False)
    sent(path, FRAMES[2:4])
    standby.begin()
    standby.send([memoryview(FRAMES[4])])
    standby.close()
    assert frames_in(path) == FRAMES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 200))
def test_a_record_that_was_torn_is_cut_off(tmp_path, cut):
    path = tmp_path / "net.pcap"
    path.unlink(missing_ok=True)
    sent(path, FRAMES)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    sent(path, [b"\xee" * 60])
    *kept, last = frames_in(path)
    assert last == b"\xee" * 60
    assert kept == FRAMES[: len(kept)]


def test_a_file_that_was_emptied_meanwhile_begins_anew(tmp_path):
    path = tmp_path / "net.pcap"
    sent(path, FRAMES)
    standby = opened(path, begin=False)
    os.truncate(path, 0)
    standby.begin()
    standby.close()
    assert frames_in(path) == []


@pytest.mark.parametrize("content", [b"no capture", b"no capture" * 10, pcap.HEADER[::-1]])
def test_something_else_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DriverError, match=r"notes\.txt is something else"):
        opened(path)
    assert path.read_bytes() == content


def test_nonsense_behind_the_header_is_refused(tmp_path):
    path = tmp_path / "net.pcap"
    path.write_bytes(pcap.HEADER + b"\xff" * 100)
    with pytest.raises(DriverError, match="something else"):
        opened(path)


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(DriverError, match=r"nowhere/net\.pcap cannot be opened: No such file"):
        opened(tmp_path / "nowhere" / "net.pcap")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_is_refused_with_the_cure(tmp_path, kind):
    path = Path("/dev/full")
    if kind == "fifo":
        os.mkfifo(path := tmp_path / "fifo")
    with pytest.raises(DriverError, match=f"capture {path} is no file: name one, which is made"):
        opened(path)


WRITER = """
import os, sys
from pathlib import Path
from drivers.interface import Keep
from drivers.registry import make
driver = make("net", f"pcap:path={sys.argv[1]},child=(null)", Keep(Path("/nonexistent")))
driver.begin()
frames = [memoryview(bytes([n % 256]) * 1500) for n in range(256)]
while True:
    for _ in range(10):
        driver.send(frames)
    os.write(1, b"!")
"""


def test_what_a_killed_process_leaves_is_gone_on_with(tmp_path):
    path = tmp_path / "net.pcap"
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout.read(1) == b"!"
            writer.send_signal(signal.SIGKILL)
    sent(path, [b"last" * 5])
    *rest, last = frames_in(path)
    assert last == b"last" * 5
    assert {len(frame) for frame in rest} == {1500}


def test_tcpdump_reads_it(tmp_path):
    if shutil.which("tcpdump") is None:
        pytest.skip("no tcpdump: apt-get install tcpdump")
    path = tmp_path / "net.pcap"
    sent(path, [b"\xff" * 6 + b"\x52" + bytes(5) + b"\x88\xb5" + bytes(46)] * 3)
    read = subprocess.run(
        ["tcpdump", "-n", "-e", "-r", path], capture_output=True, text=True, check=True
    )
    assert read.stdout.count("52:00:00:00:00:00 > ff:ff:ff:ff:ff:ff") == 3
    assert "EN10MB" in read.stderr
    assert "truncated" not in read.stderr
