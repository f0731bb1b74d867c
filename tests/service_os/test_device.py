"""Standing by, beginning, closing: a real service OS process; the test plays the core."""

import fcntl
import os
import select
import struct
import subprocess
import termios

import grpc
import pytest

from protos.io_pb2 import Access, Activate, Begin, CoreMessage, IoBatch, Request, Reset
from service_os.models.block_shape import F_DISCARD

REFUSED = grpc.StatusCode.FAILED_PRECONDITION
NO_FLUSH = "the driver NoFlush has no method flush: add it"


def transmit(slot, data):
    return Request(slot=slot, queue=1, readable=len(data), inlined=True, payload=data)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(64 * 512))
    return path


@pytest.mark.parametrize(
    ("model", "spec", "patience", "failure"),
    [
        ("block", "file:path={image}", 100, b"\1"),
        ("block", "memory:size=64K", 100, b"\1"),
        ("console", "log:path=/dev/null", 100, b""),
        ("entropy", "system", 100, b""),
        ("console", "terminal", 0, b""),
        ("uart", "terminal", 0, b""),
    ],
)
def test_a_device_says_how_long_it_may_take_and_how_it_fails(
    start, image, model, spec, patience, failure
):
    attached = start().attach(model, spec.format(image=image)).next().attached
    assert (attached.patience_ms, attached.failure) == (patience, failure)


def test_a_driver_may_say_how_patient_it_is_and_look_again_when_it_begins(start, drivers):
    stream = start(env=drivers).stand_by("block", "growing")
    assert stream.opened().patience_ms == 2500
    stream.begin()
    attached = stream.next().attached
    assert attached.patience_ms == 2500
    assert int.from_bytes(attached.config_space[:8], "little") == 2


def test_a_driver_that_cannot_begin_is_refused_in_one_line(start, drivers):
    stream = start(env=drivers).stand_by("block", "growing:gone")
    stream.opened()
    stream.begin()
    assert stream.refusal() == (grpc.StatusCode.FAILED_PRECONDITION, "it has gone: find it")


def waiting(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_standing_by_leaves_the_terminal_to_the_one_that_serves(start):
    incarnation = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    typed, shown = incarnation.process.stdin, incarnation.process.stdout
    typed.write(b"root\n")
    typed.flush()
    stream = incarnation.stand_by("console", "terminal")
    stream.opened()
    assert (waiting(typed), waiting(shown)) == (5, 0)
    stream.begin()
    stream.next()
    stream.submit(Request(slot=0, queue=0, writable=64, inlined=True))
    assert stream.completions().completions[0].payload == b"root\n"


def test_a_log_begins_where_the_one_before_it_ended(start, tmp_path):
    log = tmp_path / "console.log"
    heir = start().stand_by("console", f"log:path={log}")
    heir.opened()
    log.write_bytes(b"meanwhile\n")
    heir.begin()
    heir.next()
    heir.submit(transmit(0, b"now\n"))
    heir.completions()
    assert log.read_bytes() == b"meanwhile\nnow\n"


def test_what_comes_with_begin_is_done_after_attached(start, tmp_path):
    log = tmp_path / "console.log"
    heir = start().stand_by("console", f"log:path={log}")
    heir.opened()
    replay = IoBatch(epoch=heir.epoch, replay=True, requests=[transmit(0, b"again\n")])
    heir.send(CoreMessage(begin=Begin(activate=Activate(), replay=replay)))
    assert heir.next().HasField("attached")
    heir.completions()
    assert log.read_bytes() == b"again\n"


def test_a_standby_that_is_never_needed_closes_its_driver(start, image):
    incarnation = start()
    stream = incarnation.stand_by("block", f"file:path={image}", window={})
    stream.opened()
    assert str(image) in open_files(incarnation)
    stream.close()
    assert str(image) not in open_files(incarnation)


def test_a_stream_that_has_ended_in_order_has_closed_its_driver(start, image):
    incarnation = start()
    stream = incarnation.attach("block", f"file:path={image}")
    stream.next()
    stream.close()
    assert str(image) not in open_files(incarnation)


def open_files(incarnation):
    fds = f"/proc/{incarnation.process.pid}/fd"
    return [os.path.realpath(f"{fds}/{fd}") for fd in os.listdir(fds)]


def test_of_two_streams_of_one_device_the_second_begins_when_the_first_has_closed(start, drivers):
    incarnation = start(env=drivers, stderr=subprocess.PIPE, text=True)
    first = incarnation.attach("block", "growing")
    assert first.next().HasField("attached")
    second = incarnation.stand_by("block", "growing")
    second.opened()
    said = incarnation.process.stderr
    assert said.readline() == "begin\n"
    second.begin()
    assert not select.select([said], [], [], 0.2)[0]
    first.end()
    first.close()
    assert second.next().HasField("attached")
    second.close()
    incarnation.kill()
    assert said.read().split() == ["close", "begin", "flush", "close"]


def test_a_driver_is_flushed_at_each_end_but_that_for_another_driver(start, drivers):
    incarnation = start(env=drivers, stderr=subprocess.PIPE, text=True)
    for end in ("end", "hang_up", "cancel"):
        stream = incarnation.attach("block", "growing")
        stream.next()
        getattr(stream, end)()
        stream.cancel() if end == "cancel" else stream.close()
    never_needed = incarnation.stand_by("block", "growing")
    never_needed.opened()
    never_needed.close()
    incarnation.terminate()
    said = incarnation.process.stderr.read().split()
    assert said[:2] == ["begin", "close"]
    assert said[2:5] == ["begin", "flush", "close"]
    rest = sorted(said[5:])  # who is cancelled closes in its own time
    assert rest == ["begin", "close", "close", "flush"]


def test_what_devices_keep_is_in_places_of_their_own_whatever_their_names(start):
    """Dots in names, and a service OS whose log is in the same folder."""
    incarnation = start()
    names = [("a", "b.c"), ("a.b", "c"), ("a:b", "c"), ("a", "b:c"), ("1", "log")]
    for number, (guest, device) in enumerate(names, 1):
        spec = f"memory:size={512 * number}"
        assert incarnation.attach("block", spec, guest=guest, device=device).next().attached
    kept = {path.name: path.stat().st_size for path in incarnation.run_dir.glob("keep.*")}
    assert sorted(kept.values()) == [512 * number for number in range(1, 6)]
    assert "keep.1.log" not in kept  # of the first incarnation of a service OS called keep


def test_anything_but_begin_after_attach_ends_the_stream(start):
    stream = start().stand_by("entropy", "system")
    stream.opened()
    stream.send(CoreMessage(reset=Reset()))
    assert stream.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, "reset before begin")


def test_a_guest_goes_on_finding_the_disk_that_it_knows(start, image):
    """Its capacity apart: that may grow."""
    incarnation = start()
    seen = incarnation.attach("block", f"file:path={image},discard=off", device="a").next().attached
    image.write_bytes(bytes(128 * 512))
    stream = incarnation.stand_by("block", f"file:path={image}", seen=seen)
    stream.opened()
    stream.begin()
    attached = stream.next().attached
    assert int.from_bytes(attached.config_space[:8], "little") == 128
    assert attached.config_space[8:] == seen.config_space[8:]
    assert attached.features == seen.features
    offered = incarnation.attach("block", f"file:path={image}", device="b").next().attached
    assert offered.features & ~seen.features == F_DISCARD


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_disk_that_its_guest_could_not_follow_to_is_refused(start, image, when):
    """When it is opened, or when it begins if it was another one then."""
    incarnation = start()
    seen = incarnation.attach("block", f"file:path={image}", device="a").next().attached
    if when == "before":
        os.truncate(image, 32 * 512)
    stream = incarnation.stand_by("block", f"file:path={image}", seen=seen)
    if when == "after":
        stream.opened()
        os.truncate(image, 32 * 512)
        stream.begin()
    text = "the disk has 16384 bytes, and the guest knows 32768: give one that is at least as large"
    assert stream.refusal() == (grpc.StatusCode.FAILED_PRECONDITION, text)


def test_a_card_that_its_guest_could_not_follow_to_is_refused_when_it_is_opened(start):
    incarnation = start()
    spec = "null:mac=52:54:00:12:34:56"
    seen = incarnation.attach("net", spec, device="a").next().attached
    stream = incarnation.stand_by("net", f"{spec},mtu=1400", device="b", seen=seen)
    code, text = stream.refusal()
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "say mtu=1500" in text
    again = incarnation.attach("net", spec, device="c", seen=seen).next().attached
    assert again == seen


def test_whether_its_guest_can_follow_is_asked_once_when_it_is_opened_and_once_when_it_begins(
    start, drivers
):
    incarnation = start(env=drivers, stderr=subprocess.PIPE, text=True)
    seen = incarnation.attach("block", "looked", device="a").next().attached
    stream = incarnation.stand_by("block", "looked", device="b", seen=seen)
    stream.opened()
    stream.begin()
    assert stream.next().HasField("attached")
    incarnation.kill()
    said = incarnation.process.stderr.read().split()
    told = [word for word in said if word in ("begin", "looked")]
    model = ["looked", "looked"]  # when it is checked, and when it is used
    assert told == ["begin", *model, *model, "begin", *model]


def test_what_other_models_have_shown_is_for_the_core_to_compare(start):
    incarnation = start()
    seen = incarnation.attach("entropy", "system", device="a").next().attached
    seen.features |= 1 << 20
    attached = incarnation.attach("entropy", "system", seen=seen).next().attached
    assert not attached.features & 1 << 20


def test_what_a_driver_delivers_when_it_is_closed_is_in_the_last_state(start, drivers):
    stream = start(env=drivers).attach("console", "late")
    stream.next()
    stream.submit(Request(slot=0, queue=0, writable=2, inlined=True))
    stream.submit(transmit(1, b"!"))
    stream.completions()
    stream.hang_up()
    reply = stream.completions()
    assert [(c.slot, c.payload) for c in reply.completions] == [(0, b"la")]
    assert reply.state.endswith(b"te")
    stream.close()


@pytest.mark.parametrize(
    ("model", "spec", "status", "line"),
    [
        ("block", "noflush", REFUSED, NO_FLUSH),
        ("block", "throttle:iops=9,child=(noflush)", REFUSED, NO_FLUSH),
        ("block", "growing:patience=soon", REFUSED, "the driver's patience is 'soon': it must be "),
        ("console", "late:origin=-5", REFUSED, "the driver's origin is -5: it must be a number of"),
        (
            "block",
            "throttle:iops=9,child=(failing)",
            grpc.StatusCode.INTERNAL,
            r"driver throttle: option 'child': ValueError: a\x1b[31m b",
        ),
        (
            "block",
            "migrate:source=(null:size=1M),target=(failing:later)",
            grpc.StatusCode.INTERNAL,
            r"driver migrate: option 'target': ValueError: a\x1b[31m b",
        ),
    ],
)
def test_a_driver_that_is_not_as_it_must_be_is_refused_in_one_line(
    start, drivers, model, spec, status, line
):
    incarnation = start(env=drivers, stderr=subprocess.PIPE)
    found, text = incarnation.attach(model, spec).refusal()
    assert (found, text[: len(line)]) == (status, line)
    incarnation.kill()
    said = incarnation.process.stderr.read()
    assert b"\x1b" not in said
    assert (b"Traceback" in said) == (status != REFUSED)


def test_a_clock_that_tells_no_time_ends_in_one_line(start, drivers):
    incarnation = start(env=drivers, stderr=subprocess.PIPE)
    stream = incarnation.attach("rtc", "nowhen")
    stream.next()
    access = Access(offset=1, size=1)
    stream.submit(Request(slot=0, access=access))
    line = "driver nowhen: now() gives nan: it must be a number of seconds"
    assert stream.refusal() == (grpc.StatusCode.INTERNAL, line)
    incarnation.kill()
    assert b"Traceback" not in incarnation.process.stderr.read()


DRIVER = """
import sys
import threading
from dataclasses import dataclass
from drivers.interface import DriverError, MediumError
def told(what):
    print(what, file=sys.stderr, flush=True)
class Growing:
    @dataclass
    class Options:
        gone: bool = False
        patience: str = ""
    size, readonly, identity, patience = 512, True, "growing", 2.5
    def __init__(self, options):
        self._gone = options.gone
        self.patience = options.patience or 2.5
    def begin(self):
        if self._gone:
            raise DriverError("it has gone: find it")
        self.size = 1024
        told("begin")
    def read(self, offset, into):
        pass
    def flush(self):
        told("flush")
    def close(self):
        told("close")
        if self.patience == "soon":
            raise MediumError("lost\\x1b[31m")
class Looked(Growing):
    def begin(self):
        told("begin")
    @property
    def identity(self):
        told("looked")
        return "looked"
class NoFlush(Growing):
    flush = None
class Failing(Growing):
    @dataclass
    class Options:
        later: bool = False
    size, readonly = 1 << 20, False
    def __init__(self, options):
        if not options.later:
            self.begin()
    def write(self, offset, data):
        pass
    def begin(self):
        raise ValueError("a\\x1b[31m\\n b")
class Nowhen:
    @dataclass
    class Options:
        pass
    def __init__(self, options):
        pass
    def now(self):
        return float("nan")
    def close(self):
        pass
class Late:
    @dataclass
    class Options:
        origin: int = 0
    positional = False
    def __init__(self, options):
        self.origin = options.origin
        self._deliver = lambda data: None
    def write(self, data, position):
        pass
    def start(self, deliver, rank):
        self._deliver = deliver
    def close(self):
        thread = threading.Thread(target=self._deliver, args=(b"late",))
        thread.start()
        thread.join()
"""


@pytest.fixture
def drivers(tmp_path):
    """The environment in which all these drivers are installed."""
    site = tmp_path / "site"
    (site / "growing-1.dist-info").mkdir(parents=True)
    (site / "growing-1.dist-info" / "METADATA").write_text("Name: growing\nVersion: 1\n")
    entry = "[splitvisor.drivers]\nblock.growing = growing:Growing\nblock.looked = growing:Looked\n"
    entry += "block.noflush = growing:NoFlush\nblock.failing = growing:Failing\n"
    entry += "clock.nowhen = growing:Nowhen\nconsole.late = growing:Late\n"
    (site / "growing-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "growing.py").write_text(DRIVER)
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
