"""A real service OS process over gRPC; the test plays the core."""

import fcntl
import os
import struct
import subprocess

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.io_pb2 import Access, Activate, CoreMessage, Request, Reset

IN, OUT, FLUSH = 0, 1, 4
SERVICE = "splitvisor.io.v1.DeviceIo"


def block(slot, kind, sector=0, **fields):
    fields = {"generation": 7, "writable": 1, **fields}
    return Request(slot=slot, header=struct.pack("<IIQ", kind, 0, sector), **fields)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(i // 512 for i in range(64 * 512)))
    return path


def test_a_disk_through_the_window(start, image):
    stream = start().attach("block", f"file:path={image}", window={})
    attached = stream.next().attached
    assert attached.device_id == 2
    assert [(q.max_size, q.header_bytes) for q in attached.queues] == [(256, 16)]
    stream.send(CoreMessage(activate=Activate()))
    stream.window[8192 : 8192 + 512] = b"x" * 512
    stream.submit(
        block(0, IN, 3, writable=513),
        block(1, OUT, 5, readable=512),
        block(2, IN, 5, writable=513),
        block(3, FLUSH),
    )
    done = stream.completions().completions
    assert [(c.slot, c.generation, c.written) for c in done] == [
        (0, 7, 513),
        (1, 7, 1),
        (2, 7, 513),
        (3, 7, 1),
    ]
    assert stream.window[:513] == b"\3" * 512 + b"\0"
    assert stream.window[8192 + 512] == 0  # the status of the write, behind its payload
    assert stream.window[16384 : 16384 + 513] == b"x" * 512 + b"\0"
    assert image.read_bytes()[5 * 512 : 6 * 512] == b"x" * 512
    stream.close()


def test_a_disk_with_inlined_payload(start, image):
    stream = start().attach("block", f"file:path={image}")
    stream.next()
    stream.submit(
        block(0, OUT, 1, inlined=True, readable=512, payload=b"y" * 512),
        block(1, IN, 1, inlined=True, writable=513),
        block(2, IN, 64, inlined=True, writable=513),
    )
    done = stream.completions().completions
    assert [c.payload for c in done] == [b"\0", b"y" * 512 + b"\0", bytes(512) + b"\1"]
    stream.send(CoreMessage(reset=Reset()))  # a disk holds nothing, so there is nothing to answer
    stream.submit(block(3, FLUSH, inlined=True))
    assert stream.completions().completions[0].slot == 3
    stream.close()


def test_the_first_answers_of_a_long_batch_do_not_wait_for_the_last(start, tmp_path):
    path = tmp_path / "large.img"
    path.write_bytes(bytes(8 << 20))
    stream = start().attach("block", f"file:path={path}")
    stream.next()
    stream.submit(*(block(i, IN, inlined=True, writable=(1 << 20) + 1) for i in range(3)))
    assert [[c.slot for c in stream.completions().completions] for _ in range(3)] == [[0], [1], [2]]
    stream.close()


def test_the_next_incarnation_replays_what_the_killed_one_left(start, image):
    dead = start()
    stream = dead.attach("block", f"file:path={image}", window={})
    stream.next()
    stream.window[:512] = b"a" * 512
    writes = [block(0, OUT, 9, readable=512)]
    stream.submit(*writes)
    stream.completions()
    dead.kill()
    assert stream.refusal()[0] is grpc.StatusCode.UNAVAILABLE
    heir = start().attach("block", f"file:path={image}", window={})
    heir.next()
    heir.window[:512] = b"a" * 512
    heir.submit(*writes, block(1, IN, 9, writable=513), replay=True)
    assert [c.written for c in heir.completions().completions] == [1, 513]
    assert heir.window[8192 : 8192 + 512] == b"a" * 512
    assert image.read_bytes()[9 * 512 : 10 * 512] == b"a" * 512
    heir.close()


def test_a_memory_disk_survives_its_service_os(start):
    dead = start()
    stream = dead.attach("block", "memory:size=64K")
    stream.next()
    stream.submit(block(0, OUT, 9, inlined=True, readable=512, payload=b"m" * 512))
    stream.completions()
    dead.kill()
    heir = start().attach("block", "memory:size=64K")
    heir.next()
    heir.submit(block(1, IN, 9, inlined=True, writable=513))
    assert heir.completions().completions[0].payload == b"m" * 512 + b"\0"
    heir.close()


def test_entropy_fills_what_is_offered(start):
    stream = start().attach("entropy", "system", window={})
    assert stream.next().attached.device_id == 4
    stream.submit(Request(slot=0, writable=64), Request(slot=1, writable=64))
    assert [c.written for c in stream.completions().completions] == [64, 64]
    assert stream.window[:64] != stream.window[8192 : 8192 + 64]
    stream.close()


def transmit(slot, data):
    return Request(slot=slot, queue=1, readable=len(data), inlined=True, payload=data)


@pytest.mark.parametrize("lost", [False, True])
def test_a_log_has_every_byte_once_whichever_moment_a_death_chose(start, tmp_path, lost):
    """`lost`: the output is in the file, but the completion never reached the core."""
    log = tmp_path / "console.log"
    log.write_bytes(b"before\n")
    dead = start()
    stream = dead.attach("console", f"log:path={log}")
    first = stream.next().attached
    assert first.state
    stream.submit(transmit(0, b"one\n"))
    second = stream.completions()
    assert [c.slot for c in second.completions] == [0]
    dead.kill()
    heir = start().attach("console", f"log:path={log}", state=first.state if lost else second.state)
    heir.next()
    if lost:
        heir.submit(transmit(0, b"one\n"), replay=True)
        assert [c.slot for c in heir.completions().completions] == [0]
    heir.submit(transmit(1, b"two\n"))
    heir.completions()
    assert log.read_bytes() == b"before\none\ntwo\n"
    heir.close()


def test_a_console_on_the_terminal_works_both_ways(start):
    incarnation = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stream = incarnation.attach("console", "terminal", window={})
    attached = stream.next().attached
    assert [q.parks for q in attached.queues] == [True, False]
    stream.submit(Request(slot=0, queue=0, writable=64), Request(slot=1, queue=0, writable=64))
    stream.submit(transmit(2, b"login: "))
    assert [c.slot for c in stream.completions().completions] == [2]
    assert os.read(incarnation.process.stdout.fileno(), 100) == b"login: "
    incarnation.process.stdin.write(b"root\n")
    incarnation.process.stdin.flush()
    assert [(c.slot, c.written) for c in stream.completions().completions] == [(0, 5)]
    assert stream.window[:5] == b"root\n"
    incarnation.process.stdin.close()
    assert [(c.slot, c.written) for c in stream.completions().completions] == [(1, 1)]
    assert stream.window[8192] == 4
    stream.close()


def test_input_that_nobody_takes_stays_at_its_source(start):
    incarnation = start(stdin=subprocess.PIPE)
    typed = bytes(i % 251 for i in range(60_000))  # fits into the pipe, and not into a state
    incarnation.process.stdin.write(typed)
    incarnation.process.stdin.flush()
    stream = incarnation.attach("console", "terminal")
    taken, state, slot = b"", stream.next().attached.state, 0
    stream.submit(Request(slot=slot, queue=0, writable=100, inlined=True))
    while len(taken) < len(typed):
        reply = stream.completions()
        state = reply.state if reply.HasField("state") else state
        assert len(state) < 6000
        for completion in reply.completions:
            taken += completion.payload
            slot += 1
            stream.submit(Request(slot=slot, queue=0, writable=1000, inlined=True))
    assert taken == typed
    stream.close()


@pytest.mark.parametrize("spec", ["log:path=/dev/full", "terminal"])
def test_output_that_finds_no_room_is_completed_and_reported_once(start, spec):
    with open("/dev/full", "wb") as full:
        incarnation = start(stdout=full, stderr=subprocess.PIPE)
    stream = incarnation.attach("console", spec)
    stream.next()
    for slot in range(2):
        stream.submit(transmit(slot, b"lost"))
        assert [c.slot for c in stream.completions().completions] == [slot]
    stream.close()
    incarnation.kill()
    line = b"console output of g/d is lost: No space left on device: free some room\n"
    assert incarnation.process.stderr.read() == line


def test_a_reset_gives_back_what_a_console_holds(start):
    stream = start(stdin=subprocess.DEVNULL).attach("console", "log:path=/dev/null")
    stream.next()
    stream.submit(*(Request(slot=i, queue=0, writable=8, inlined=True) for i in range(3)))
    stream.send(CoreMessage(reset=Reset()))
    assert [(c.slot, c.written) for c in stream.completions().completions] == [
        (0, 0),
        (1, 0),
        (2, 0),
    ]
    stream.close()


def access(slot, offset, value=None):
    write = value is not None
    return Request(
        slot=slot, access=Access(offset=offset, size=1, write=write, value=value if write else 0)
    )


def test_a_uart_answers_accesses_and_interrupts(start):
    incarnation = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stream = incarnation.attach("uart", "terminal")
    attached = stream.next().attached
    assert (attached.device_id, attached.slots > 0, len(attached.queues)) == (0, True, 0)
    stream.submit(access(0, 0, ord("h")), access(1, 0, ord("i")), access(2, 5), access(3, 1, 1))
    reply = stream.completions()
    assert [c.value for c in reply.completions] == [0, 0, 0x60, 0]
    assert not reply.interrupt
    assert os.read(incarnation.process.stdout.fileno(), 100) == b"hi"
    incarnation.process.stdin.write(b"?")
    incarnation.process.stdin.flush()
    reply = stream.completions()
    assert (list(reply.completions), reply.interrupt) == ([], True)
    stream.submit(access(0, 0))
    assert stream.completions().completions[0].value == ord("?")
    stream.close()


@pytest.mark.parametrize(
    ("model", "spec", "fields", "status", "text"),
    [
        ("blok", "file:path=x", {}, "INVALID_ARGUMENT", "no device model 'blok', did you mean"),
        ("block", "fiel:path=x", {}, "INVALID_ARGUMENT", "did you mean 'file'"),
        ("block", "file:path=x,y", {}, "INVALID_ARGUMENT", "has no option 'y'"),
        ("block", "file:path=/nope", {}, "FAILED_PRECONDITION", "/nope does not exist: make it"),
        ("block", "file:path=/", {}, "FAILED_PRECONDITION", "is a directory"),
        ("entropy", "system", {"token": "guess"}, "UNAUTHENTICATED", "the token is not that"),
        ("entropy", "system", {"epoch": 9}, "FAILED_PRECONDITION", "has epoch 1, not 9"),
        ("uart", "log:path=/dev/null", {"state": b"x"}, "INVALID_ARGUMENT", "not a UART's state"),
    ],
)
def test_an_attach_that_cannot_be_is_refused_in_one_line(start, model, spec, fields, status, text):
    code, details = start().attach(model, spec, **fields).refusal()
    assert code is grpc.StatusCode[status]
    assert text in details
    assert "\n" not in details


@pytest.mark.parametrize(
    ("window", "text"),
    [
        ({"seals": 0}, "not sealed against shrinking and growing"),
        ({"seals": fcntl.F_SEAL_GROW}, "not sealed against shrinking and growing"),
        ({"size": 4096}, "is not 131072 bytes long"),
        ({"epoch": 9}, "the grant is for epoch 9, this is 1"),
    ],
)
def test_a_window_that_is_not_as_agreed_is_refused(start, window, text):
    code, details = start().attach("entropy", "system", window=window).refusal()
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert text in details


def test_a_request_outside_its_area_ends_the_stream(start):
    stream = start().attach("entropy", "system", window={})
    stream.next()
    stream.submit(Request(slot=0, writable=8193))
    code, details = stream.refusal()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "slot 0 does not fit" in details


def test_a_second_stream_of_a_device_waits_for_the_first(start, image):
    incarnation = start()
    first = incarnation.attach("block", f"file:path={image}")
    first.next()
    second = incarnation.attach("block", f"file:path={image}")
    first.close()
    assert second.next().HasField("attached")
    second.close()


def test_a_device_can_be_attached_again_after_the_core_hung_up(start, image):
    incarnation = start()
    for _ in range(3):
        stream = incarnation.attach("block", f"file:path={image}", window={})
        stream.next()
        stream.cancel()
    links = [
        os.path.realpath(f"/proc/{incarnation.process.pid}/fd/{n}")
        for n in os.listdir(f"/proc/{incarnation.process.pid}/fd")
    ]
    assert links.count(str(image)) <= 1


PLUGIN = """
from dataclasses import dataclass
class Toy:
    @dataclass
    class Options:
        broken: bool = False
    size, readonly, identity = 1 << 20, True, "toy"
    def __init__(self, options):
        self.options = options
    def read(self, offset, into):
        into[:] = b"too short" if self.options.broken else b"9" * len(into)
    def flush(self):
        pass
    def close(self):
        pass
"""


@pytest.fixture
def plugin(tmp_path):
    """The environment in which somebody's own driver `toy` is installed."""
    site = tmp_path / "site"
    (site / "toy-1.dist-info").mkdir(parents=True)
    (site / "toy-1.dist-info" / "METADATA").write_text("Name: toy\nVersion: 1\n")
    entry = "[splitvisor.drivers]\nblock.toy = toy:Toy\nblock.gone = toy_that_is_gone:Toy\n"
    (site / "toy-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "toy.py").write_text(PLUGIN)
    return {"PYTHONPATH": str(site)}


def test_a_driver_of_somebody_else_serves_like_ours(start, plugin):
    incarnation = start(env=plugin)
    stream = incarnation.attach("block", "toy")
    assert stream.next().attached.features & 1 << 5  # read-only
    stream.submit(block(0, IN, 5, inlined=True, writable=513))
    assert stream.completions().completions[0].payload == b"9" * 512 + b"\0"
    stream.close()
    code, details = incarnation.attach("block", "gone").refusal()
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "block driver 'gone' (toy_that_is_gone:Toy) cannot be loaded: ModuleNotFound" in details


def test_a_bug_in_a_driver_ends_its_stream_and_no_other(start, plugin):
    incarnation = start(env=plugin, stderr=subprocess.PIPE)
    others = incarnation.attach("entropy", "system", device="other")
    others.next()
    stream = incarnation.attach("block", "toy:broken")
    stream.next()
    stream.submit(block(0, IN, 5, inlined=True, writable=513))
    code, details = stream.refusal()
    assert code is grpc.StatusCode.INTERNAL
    assert details.startswith("driver toy: ValueError: ")
    others.submit(Request(slot=0, inlined=True, writable=8))
    assert others.completions().completions[0].written == 8
    others.close()
    incarnation.kill()
    assert b"toy.py" in incarnation.process.stderr.read()


LEAVER = """
import sys
from dataclasses import dataclass
class Leaver:
    @dataclass
    class Options:
        at: str
    size, readonly, identity = 1 << 20, False, "leaver"
    def __init__(self, options):
        self.at = options.at
        self.leave("open", SystemExit(3))
        self.leave("interrupt", KeyboardInterrupt("of nobody"))
        self.leave("silence", KeyboardInterrupt())
    def leave(self, here, how):
        if self.at == here:
            raise how
    def read(self, offset, into):
        self.leave("read", SystemExit("no\\nmore"))
    def write(self, offset, data):
        self.leave("write", SystemExit(4))
    def flush(self):
        pass
    def close(self):
        self.leave("close", SystemExit(5))
"""


@pytest.fixture
def leaver(tmp_path):
    """The environment in which a driver `leaver` is installed that calls for the exit."""
    site = tmp_path / "leaver-site"
    (site / "leaver-1.dist-info").mkdir(parents=True)
    (site / "leaver-1.dist-info" / "METADATA").write_text("Name: leaver\nVersion: 1\n")
    entry = "[splitvisor.drivers]\nblock.leaver = leaver:Leaver\n"
    (site / "leaver-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "leaver.py").write_text(LEAVER)
    return {"PYTHONPATH": str(site)}


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("open", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt: of nobody"),
        ("silence", "KeyboardInterrupt"),
        ("read", "SystemExit: no more"),
        ("write", "SystemExit: 4"),
        ("close", "SystemExit: 5"),
    ],
)
def test_a_driver_that_exits_ends_its_stream_and_is_named(start, leaver, at, said):
    incarnation = start(env=leaver, stderr=subprocess.PIPE)
    others = incarnation.attach("entropy", "system", device="other")
    others.next()
    stream = incarnation.attach("block", f"leaver:at={at}")
    if at in ("read", "write", "close"):
        stream.next()
    if at == "read":
        stream.submit(block(0, IN, 5, inlined=True, writable=513))
    if at == "write":
        stream.submit(block(0, OUT, 5, inlined=True, readable=512, payload=bytes(512)))
    if at == "close":
        stream.hang_up()
    assert stream.refusal() == (grpc.StatusCode.INTERNAL, f"driver leaver: {said}")
    others.submit(Request(slot=0, inlined=True, writable=8))
    assert others.completions().completions[0].written == 8
    others.close()
    incarnation.kill()
    placed = b"leaver.py" in incarnation.process.stderr.read()
    assert placed == (
        at in ("read", "write", "close")
    )  # one that does not open is refused in words


def test_health_and_reflection_answer(start):
    channel = start().channel
    health = health_pb2_grpc.HealthStub(channel)
    reply = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=60)
    described = FileDescriptorProto.FromString(
        answer.file_descriptor_response.file_descriptor_proto[0]
    )
    assert described.package == "splitvisor.io.v1"


def test_sigterm_closes_devices_and_leaves_no_sockets(start, image):
    incarnation = start()
    streams = [
        incarnation.attach("block", f"file:path={image}", device="disk"),
        incarnation.attach("console", "log:path=/dev/null", device="console"),
    ]
    for stream in streams:
        stream.next()
    assert incarnation.terminate() == 0
    assert not incarnation.io.exists()
    assert not incarnation.grants.exists()
    for stream in streams:
        stream.cancel()
