"""Drivers with async methods, called directly and in a real service OS; the test plays the core."""

import struct
import subprocess
import sys
import threading

import pytest
import trio

from drivers.interface import DriverError, MediumError
from protos.io_pb2 import Request
from service_os.asynchronous import Calls


class Echo:
    """Some methods are async, some are not."""

    size = 7

    def __init__(self):
        self.closed = False
        self.thread = None
        self.waits = threading.Event()

    def plain(self):
        return threading.get_ident()

    async def fill(self, into):
        await trio.sleep(0)
        self.thread = threading.get_ident()
        into[:] = b"x" * len(into)

    async def fail(self):
        raise MediumError("so be it")

    async def hang(self):
        self.waits.set()
        await trio.sleep_forever()

    async def close(self):
        await trio.sleep(0)
        self.closed = True


def test_async_methods_are_waited_for_and_the_others_are_as_they_were():
    echo = Echo()
    driver = Calls().adapt(echo)
    into = bytearray(4)
    driver.fill(memoryview(into))
    assert into == b"xxxx"
    assert echo.thread != driver.plain() == threading.get_ident()
    assert driver.size == 7
    with pytest.raises(MediumError, match="so be it"):
        driver.fail()
    assert not hasattr(driver, "begin")
    driver.close()
    assert echo.closed


def test_a_driver_without_async_methods_is_left_alone():
    class Plain:
        def fill(self, into):
            pass

    plain = Plain()
    assert Calls().adapt(plain) is plain


def test_what_waits_for_ever_is_cancelled_and_closed():
    echo, calls = Echo(), Calls()
    driver = calls.adapt(echo)
    failed = []

    def wait():
        try:
            driver.hang()
        except MediumError as error:
            failed.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert echo.waits.wait(60)
    calls.cancel()
    thread.join(60)
    assert failed == ["nobody waits for it any more"]
    driver.fill(memoryview(bytearray(1)))  # what is left to be done may still be
    driver.close()
    assert echo.closed


def test_a_start_that_is_async_is_refused():
    class Wrong:
        async def start(self, deliver, rank):
            pass

    with pytest.raises(DriverError, match="driver Wrong: start cannot be async"):
        Calls().adapt(Wrong())


def test_trio_is_not_imported_where_no_driver_is_async(tmp_path):
    code = (
        "import sys; from service_os.asynchronous import Calls; import service_os.process\n"
        "calls = Calls(); calls.adapt(object()); calls.cancel(); assert 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


DRIVER = """
import os
from dataclasses import dataclass
from pathlib import Path
import trio
from drivers.interface import VirtioQueue
class Disk:
    @dataclass(frozen=True)
    class Options:
        path: Path
    size, readonly, identity, patience = 64 * 512, False, "async", None
    def __init__(self, options):
        self._path = options.path
        self._file = None
    async def begin(self):
        self._file = await trio.open_file(self._path, "r+b", buffering=0)
    async def read(self, offset, into):
        await self._file.seek(offset)
        into[:] = await self._file.read(len(into))
    async def write(self, offset, data):
        await self._file.seek(offset)
        await self._file.write(bytes(data))
        if bytes(data[:4]) == b"hang":
            os.write(2, b"hangs\\n")
            await trio.sleep_forever()
    async def flush(self):
        await trio.sleep(0)
        os.write(2, b"flushed\\n")
    async def close(self):
        if self._file:
            await self._file.aclose()
        os.write(2, b"closed\\n")
class Sevens:
    @dataclass(frozen=True)
    class Options:
        pass
    def __init__(self, options):
        pass
    async def fill(self, into):
        await trio.sleep(0.001)
        into[:] = bytes([7]) * len(into)
    def close(self):
        pass
class Doubler:
    @dataclass(frozen=True)
    class Options:
        pass
    device_id, features, config, queues = 42, 0, b"", (VirtioQueue(8),)
    def __init__(self, options):
        pass
    async def handle(self, queue, readable, writable):
        await trio.sleep(0)
        writable[: 2 * len(readable)] = bytes(readable) * 2
        return 2 * len(readable)
    def close(self):
        pass
"""
POINTS = """[splitvisor.drivers]
block.asynchronous = asynchronous_drivers:Disk
entropy.asynchronous = asynchronous_drivers:Sevens
virtio.asynchronous = asynchronous_drivers:Doubler
"""


@pytest.fixture
def drivers(tmp_path):
    """The environment in which the drivers are installed."""
    site = tmp_path / "site"
    (site / "asynchronous_drivers-1.dist-info").mkdir(parents=True)
    (site / "asynchronous_drivers-1.dist-info" / "entry_points.txt").write_text(POINTS)
    (site / "asynchronous_drivers.py").write_text(DRIVER)
    return {"PYTHONPATH": str(site)}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(64 * 512))
    return path


def block(slot, kind, payload=b"", writable=1):
    header = struct.pack("<IIQ", kind, 0, 5)
    fields = {"readable": len(payload), "payload": payload, "writable": writable, "inlined": True}
    return Request(slot=slot, header=header, **fields)


@pytest.mark.parametrize("stack", ["{}", "throttle:iops=1000000,child=({})"])
def test_a_disk(start, drivers, image, stack):
    service = start(env=drivers, stderr=subprocess.PIPE)
    stream = service.attach("block", stack.format(f"asynchronous:path={image}"))
    assert stream.next().attached.config_space[:8] == (64).to_bytes(8, "little")
    stream.submit(block(0, 1, b"y" * 512), block(1, 0, writable=513), block(2, 4))
    done = stream.completions().completions
    assert [c.payload for c in done] == [b"\0", b"y" * 512 + b"\0", b"\0"]
    stream.close()
    assert image.read_bytes()[5 * 512 :][:512] == b"y" * 512
    assert service.terminate() == 0
    assert service.process.stderr.read() == b"flushed\nflushed\nclosed\n"


def test_entropy_and_a_device_of_its_own_kind(start, drivers):
    service = start(env=drivers)
    stream = service.attach("entropy", "limit:bps=1M,child=(asynchronous)")
    stream.next()
    stream.submit(Request(slot=0, writable=5, inlined=True))
    assert stream.completions().completions[0].payload == b"\7" * 5
    other = service.attach("virtio", "asynchronous", device="other")
    assert other.next().attached.device_id == 42
    other.submit(Request(slot=0, readable=2, payload=b"ab", writable=9, inlined=True))
    assert other.completions().completions[0].payload == b"abab"
    stream.close()
    other.close()


@pytest.mark.parametrize("end", ["cancelled", "terminated"])
def test_one_that_hangs_is_cancelled_flushed_and_closed(start, drivers, image, end):
    service = start(env=drivers, stderr=subprocess.PIPE)
    stream = service.attach("block", f"asynchronous:path={image}")
    stream.next()
    stream.submit(block(0, 1, b"hang" * 128))
    assert service.process.stderr.readline() == b"hangs\n"
    if end == "cancelled":
        stream.cancel()
        assert service.process.stderr.readline() == b"flushed\n"
        assert service.process.stderr.readline() == b"closed\n"
    assert service.terminate() == 0
    left = b"" if end == "cancelled" else b"flushed\nclosed\n"
    assert service.process.stderr.read() == left
