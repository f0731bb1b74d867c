"""Drivers each of which breaks one promise, and sound ones that they are made from.

The test installs this module as a package of drivers: `block.short_read` and so on.
"""

import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import (
    Ability,
    Claim,
    DriverError,
    Keep,
    MediumError,
    UnsupportedError,
    VirtioQueue,
)
from drivers.rawio import medium_error, read_all, write_all

BREAKS = {}  # by kind, check, and name of the driver
FILES = ("block", "console")
SOUND = (
    ("block", "Disk"),
    ("block", "AsyncDisk"),
    ("console", "Console"),
    ("console", "Typist"),
    ("entropy", "Source"),
    ("clock", "Clock"),
    ("net", "Port"),
    ("virtio", "Device"),
)


def breaks(kind, check):
    def note(driver):
        BREAKS[kind, check, driver.__name__] = driver
        return driver

    return note


class Disk:
    """A sound one, with all abilities."""

    @dataclass
    class Options:
        path: Path

    readonly = False
    identity = "sound"
    abilities = Ability.DISCARD | Ability.WRITE_ZEROES

    @staticmethod
    def claims(options):
        return (Claim(options.path, exclusive=True),)

    @staticmethod
    def content(options):
        return f"sound {options.path}"

    def __init__(self, options):
        self.path = options.path
        try:
            self.fd = os.open(options.path, os.O_RDWR | os.O_CLOEXEC)
            self.size = os.lseek(self.fd, 0, os.SEEK_END)
        except OSError as error:
            raise DriverError(f"disk {options.path}: {error.strerror}") from None

    def begin(self):
        pass

    def read(self, offset, into):
        try:
            read_all(self.fd, offset, into)
        except OSError as error:
            raise medium_error(error) from error

    def write(self, offset, data):
        try:
            write_all(self.fd, offset, data)
        except OSError as error:
            raise medium_error(error) from error

    def flush(self):
        os.fdatasync(self.fd)

    def discard(self, offset, length):
        self.write(offset, memoryview(bytes(length)))

    def write_zeroes(self, offset, length, unmap):
        self.write(offset, memoryview(bytes(length)))

    def close(self):
        os.close(self.fd)


class AsyncDisk(Disk):
    """Its methods wait, for trio."""

    async def begin(self):
        import trio

        self.lock = trio.Lock()

    async def read(self, offset, into):
        async with self.lock:
            super().read(offset, into)

    async def write(self, offset, data):
        async with self.lock:
            await self._write(offset, data)

    async def _write(self, offset, data):
        super().write(offset, data)

    async def flush(self):
        async with self.lock:
            super().flush()

    async def discard(self, offset, length):
        await self.write(offset, memoryview(bytes(length)))

    async def write_zeroes(self, offset, length, unmap):
        await self.write(offset, memoryview(bytes(length)))

    async def close(self):
        super().close()


@breaks("block", "a_write_may_be_cut_off_anywhere")
class AsyncClears(AsyncDisk):
    async def write(self, offset, data):
        import trio

        await self._write(offset, memoryview(bytes(len(data))))
        for _ in range(50):  # most of the steps at which it may be cut off
            await trio.lowlevel.checkpoint()
        await self._write(offset, data)


@breaks("block", "says_what_it_is")
class LongName(Disk):
    identity = "x" * 21


@breaks("block", "says_what_it_is")
class NoDiscard(Disk):
    discard = None


@breaks("block", "says_what_it_is")
class OddSize(Disk):
    def __init__(self, options):
        super().__init__(options)
        self.size -= 1


@breaks("block", "reads_anywhere")
class ShortRead(Disk):
    def read(self, offset, into):
        os.preadv(self.fd, [into[: 1 << 20]], offset)


@breaks("block", "reads_anywhere")
class ReadsInPages(Disk):
    def read(self, offset, into):
        if offset % 4096:
            raise MediumError("no")
        super().read(offset, into)


@breaks("block", "stores_what_is_written")
class ShortWrite(Disk):
    def write(self, offset, data):
        super().write(offset, data[: 1 << 20])


@breaks("block", "stores_what_is_written")
class WritesPages(Disk):
    def write(self, offset, data):
        rest = -len(data) % 4096
        super().write(offset, memoryview(bytes(data) + bytes(rest)))


@breaks("block", "is_like_bytes_in_memory")
class StaleCache(Disk):
    """Reads of one sector come from a cache that larger writes do not know of."""

    def __init__(self, options):
        super().__init__(options)
        self.cache = {}

    def write(self, offset, data):
        super().write(offset, data)
        if len(data) == 4096:
            self.cache[offset] = bytes(data)

    def read(self, offset, into):
        super().read(offset, into)
        for at, data in self.cache.items():
            if offset <= at and at + len(data) <= offset + len(into):
                into[at - offset : at - offset + len(data)] = data


@breaks("block", "keeps_nothing_that_is_lent")
class KeepsLent(Disk):
    def write(self, offset, data):
        super().write(offset, data)
        self.last = offset, data

    def read(self, offset, into):
        super().read(offset, into)
        if hasattr(self, "last") and self.last[0] == offset and len(self.last[1]) == len(into):
            into[:] = self.last[1]


@breaks("block", "writes_twice_as_once")
class Journal(Disk):
    """What is written again to a place goes behind it."""

    def __init__(self, options):
        super().__init__(options)
        self.seen = set()

    def write(self, offset, data):
        again = (offset, bytes(data)) in self.seen
        self.seen.add((offset, bytes(data)))
        super().write(offset + (512 if again else 0), data)


@breaks("block", "works_on_another_thread")
class OneThread(Disk):
    def __init__(self, options):
        super().__init__(options)
        self.owner = threading.get_ident()

    def read(self, offset, into):
        if threading.get_ident() != self.owner:
            raise RuntimeError("wrong thread")
        super().read(offset, into)


@breaks("block", "flushes_at_any_time")
class FlushesOnce(Disk):
    dirty = False

    def write(self, offset, data):
        super().write(offset, data)
        self.dirty = True

    def flush(self):
        if not self.dirty:
            raise MediumError("nothing to flush")
        self.dirty = False


@breaks("block", "is_unchanged_if_readonly")
class WritableReadonly(Disk):
    readonly = True


class Cached(Disk):
    """A write-back cache: what every rule here is about."""

    def __init__(self, options):
        super().__init__(options)
        self.cache = []

    def write(self, offset, data):
        self.cache.append((offset, bytes(data)))

    def read(self, offset, into):
        found = bytearray(self.size)
        super().read(0, memoryview(found))
        for at, data in self.cache:
            found[at : at + len(data)] = data
        into[:] = found[offset : offset + len(into)]

    def flush(self):
        for offset, data in self.cache:
            super().write(offset, memoryview(data))
        self.cache.clear()


@breaks("block", "survives_being_closed")
class LosesCache(Cached):
    pass


@breaks("block", "survives_sigkill")
class FlushesAtClose(Cached):
    def close(self):
        self.flush()
        super().close()


@breaks("block", "zeros_survive_sigkill")
class ZerosLater(Disk):
    def __init__(self, options):
        super().__init__(options)
        self.zeros = []

    def write_zeroes(self, offset, length, unmap):
        self.zeros.append((offset, length))

    def close(self):
        for zeros in self.zeros:
            super().write_zeroes(*zeros, False)
        super().close()


class Snapshot(Disk):
    """What is read was read at opening."""

    def __init__(self, options):
        super().__init__(options)
        self.held = bytearray(self.size)
        super().read(0, memoryview(self.held))

    def write(self, offset, data):
        super().write(offset, data)
        self.held[offset : offset + len(data)] = data

    def read(self, offset, into):
        into[:] = self.held[offset : offset + len(into)]


@breaks("block", "stands_by")
class StaleStandby(Snapshot):
    pass


@breaks("block", "a_standby_takes_over_from_the_dead")
class StaleAfterDeath(Snapshot):
    pass


@breaks("block", "stands_by_in_vain")
class WritesBackAtClose(Disk):
    def __init__(self, options):
        super().__init__(options)
        self.held = bytearray(self.size)
        self.read(0, memoryview(self.held))

    def close(self):
        write_all(self.fd, 0, memoryview(self.held))
        super().close()


@breaks("block", "knows_its_content")
class HashOfBytes(Disk):
    @staticmethod
    def content(options):
        return str(hash(options.path.read_bytes()))


@breaks("block", "a_write_may_be_cut_off_anywhere")
class WritesTwoPlaces(Disk):
    """A map of where blocks are that is written before them."""

    def write(self, offset, data):
        super().write(offset, memoryview(bytes(len(data))))
        super().write(offset, data)


@breaks("block", "zeros_may_be_cut_off_anywhere")
class ZerosByPattern(Disk):
    def write_zeroes(self, offset, length, unmap):
        super().write(offset, memoryview(b"\xff" * length))
        super().write(offset, memoryview(bytes(length)))


@breaks("block", "a_first_write_may_be_cut_off_anywhere")
class ClearsFirst(Disk):
    def write(self, offset, data):
        super().write(offset, memoryview(b"\xff" * len(data)))
        super().write(offset, data)


@breaks("block", "may_be_killed_while_busy")
class Rotates(Disk):
    def write(self, offset, data):
        super().write(offset, memoryview(bytes(data)[::-1]))
        time.sleep(0.01)
        super().write(offset, data)


@breaks("block", "writes_zeros")
class RoundsZeros(Disk):
    def write_zeroes(self, offset, length, unmap):
        stop = (offset + length + 4095) // 4096 * 4096
        start = offset // 4096 * 4096 if unmap else offset
        super().write_zeroes(start, stop - start, unmap)


@breaks("block", "discards")
class Garbage(Disk):
    def discard(self, offset, length):
        self.write(offset, memoryview(b"\xa5" * length))


@breaks("block", "fails_as_a_medium")
class RawErrors(Disk):
    def read(self, offset, into):
        if os.preadv(self.fd, [into], offset) < len(into):
            raise EOFError("short")


@breaks("block", "opening_changes_nothing")
class Stamps(Disk):
    def __init__(self, options):
        super().__init__(options)
        sector = bytearray(512)
        os.preadv(self.fd, [sector], 0)
        os.pwrite(self.fd, sector, 0)


@breaks("block", "claims_are_paths")
class TextClaims(Disk):
    @staticmethod
    def claims(options):
        return (Claim(str(options.path), exclusive=True),)


@breaks("block", "claims_are_paths")
class RelativeClaims(Disk):
    @staticmethod
    def claims(options):
        return (Claim(options.path, True), Claim(Path("side.log"), exclusive=True))


@breaks("block", "claims_what_it_opens")
class ClaimsNothing(Disk):
    @staticmethod
    def claims(options):
        return ()


@breaks("block", "claims_what_it_opens")
class ClaimsShared(Disk):
    @staticmethod
    def claims(options):
        return (Claim(options.path, exclusive=False),)


@breaks("block", "gives_everything_back")
class LeaksDescriptors(Disk):
    def close(self):
        pass


@breaks("block", "gives_everything_back")
class LeaksThreads(Disk):
    def begin(self):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


@breaks("block", "gives_everything_back")
class LeaksProcesses(Disk):
    def begin(self):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)


@breaks("block", "needs_no_more_memory")
class Remembers(Disk):
    def __init__(self, options):
        super().__init__(options)
        self.log = []

    def write(self, offset, data):
        super().write(offset, data)
        self.log.append(bytes(b ^ 1 for b in data[:1]) * len(data))


@breaks("block", "comes_back_after_sigkill")
class LockFile(Disk):
    """A lock that who dies leaves behind."""

    def begin(self):
        self.lock = self.path.with_suffix(".lock")
        try:
            self.lock.touch(exist_ok=False)
        except FileExistsError:
            raise DriverError(f"{self.lock} is there: remove it") from None

    def close(self):
        if hasattr(self, "lock"):
            self.lock.unlink()
        super().close()


@breaks("block", "refuses_in_one_line")
class Traceback(Disk):
    def __init__(self, options):
        self.fd = os.open(options.path, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)


@breaks("block", "refuses_in_one_line")
class Verbose(Disk):
    def __init__(self, options):
        try:
            super().__init__(options)
        except DriverError as error:
            raise DriverError(f"cannot open it:\n{error}") from None


@breaks("block", "refuses_in_one_line")
class LeavesOpen(Disk):
    def __init__(self, options):
        super().__init__(options)
        if self.size == 0:
            raise DriverError("it is empty")


@breaks("block", "flushes_at_any_time")
class Crashes(Disk):
    def flush(self):
        os.abort()


class Console:
    """A sound log."""

    @dataclass
    class Options:
        path: Path

    positional = True
    origin = 0

    @staticmethod
    def claims(options):
        return (Claim(options.path, exclusive=True),)

    def __init__(self, options):
        try:
            self.fd = os.open(options.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DriverError(f"log {options.path}: {error.strerror}") from None

    def begin(self):
        self.origin = os.lseek(self.fd, 0, os.SEEK_END)

    def write(self, data, position):
        write_all(self.fd, position, data)

    def start(self, deliver, rank):
        pass

    def close(self):
        os.close(self.fd)


@breaks("console", "says_what_it_is")
class NoOrigin(Console):
    origin = None

    def begin(self):
        pass


@breaks("console", "puts_out_at_positions")
class Appends(Console):
    def write(self, data, position):
        os.lseek(self.fd, 0, os.SEEK_END)
        os.write(self.fd, data)


@breaks("console", "output_survives_sigkill")
class Buffers(Console):
    def __init__(self, options):
        super().__init__(options)
        self.held = []

    def write(self, data, position):
        self.held.append((data, position))

    def close(self):
        for data, position in self.held:
            super().write(data, position)
        super().close()


class Typist(Console):
    """Reads standard input, soundly: one byte at a time, and says when it has ended."""

    thread = None

    def start(self, deliver, rank):
        self.wake = os.pipe()
        self.thread = threading.Thread(target=self.read, args=(deliver,), daemon=True)
        self.thread.start()

    def read(self, deliver):
        import select

        while True:
            ready = select.select([0, self.wake[0]], [], [])[0]
            if self.wake[0] in ready:
                return
            data = os.read(0, 64)
            deliver(data)
            if not data:
                return

    def close(self):
        if self.thread is not None:
            os.write(self.wake[1], b"x")
            self.thread.join()
            for fd in self.wake:
                os.close(fd)
        super().close()


@breaks("console", "delivers_nothing_after_close")
class DeliversLate(Console):
    deliver = print

    def start(self, deliver, rank):
        self.deliver = deliver

    def close(self):
        super().close()
        threading.Timer(0.05, self.deliver, (b"late",)).start()


@breaks("console", "loses_no_input")
class DropsInput(Typist):
    """What it has read when it is closed is thrown away."""

    def read(self, deliver):
        while True:
            data = os.read(0, 64)
            if self.closing:
                return
            deliver(data)
            if not data:
                return

    closing = False

    def close(self):
        self.closing = True
        if self.thread is not None:
            for fd in self.wake:
                os.close(fd)
        Console.close(self)


class Source:
    """A sound source of entropy."""

    @dataclass
    class Options:
        pass

    def __init__(self, options):
        pass

    def fill(self, into):
        into[:] = os.urandom(len(into))

    def close(self):
        pass


@breaks("entropy", "says_what_it_is")
class NoPortion(Source):
    portion = 0


@breaks("entropy", "fills_all")
class Pages(Source):
    def fill(self, into):
        whole = len(into) // 8 * 8
        into[:whole] = os.urandom(whole)


@breaks("entropy", "never_repeats")
class Restarts(Source):
    """A counter that begins anew with each incarnation."""

    def __init__(self, options):
        import random

        self.stream = random.Random(7)

    def fill(self, into):
        into[:] = self.stream.randbytes(len(into))


class Clock:
    """A sound one."""

    @dataclass
    class Options:
        keep: Keep

    def __init__(self, options):
        pass

    def now(self):
        return time.time()

    def close(self):
        pass


@breaks("clock", "tells_a_time")
class Nanoseconds(Clock):
    def now(self):
        return time.time() * 1e9


@breaks("clock", "tells_a_time")
class Backwards(Clock):
    def now(self):
        return 2e9 - 1e5 * (time.monotonic() % 1000)


@breaks("clock", "goes_on_in_the_next_incarnation")
class FromStart(Clock):
    def __init__(self, options):
        self.calls = 3600.0

    def now(self):
        path = Path("/proc/self/stat")
        return self.calls - int(path.read_text().split()[0]) * 2.0


class Port:
    """A sound one, with no cable."""

    @dataclass
    class Options:
        pass

    mac = None
    mtu = 1500
    link = True

    def __init__(self, options):
        pass

    def send(self, frames):
        pass

    def start(self, deliver, changed):
        pass

    def close(self):
        pass


@breaks("net", "says_what_it_is")
class Multicast(Port):
    mac = b"\x01\x00\x5e\x00\x00\x01"


@breaks("net", "sends_frames_of_all_sizes")
class SmallFrames(Port):
    def send(self, frames):
        for frame in frames:
            struct.pack_into("1514s", bytearray(1514), 0, frame)
            if len(frame) > 1514:
                raise ValueError("too long")


@breaks("net", "sends_frames_of_all_sizes")
class KeepsFrames(Port):
    def send(self, frames):
        self.kept = frames


@breaks("net", "sends_without_start")
class NeedsStart(Port):
    def start(self, deliver, changed):
        self.deliver = deliver

    def send(self, frames):
        self.deliver([])


@breaks("net", "delivers_frames_until_close")
class LateFrames(Port):
    def start(self, deliver, changed):
        self.deliver = deliver

    def close(self):
        threading.Timer(0.05, self.deliver, ([bytes(60)],)).start()


@breaks("net", "delivers_frames_until_close")
class Runts(Port):
    def start(self, deliver, changed):
        deliver([b"short"])


class Device:
    """A sound one."""

    @dataclass
    class Options:
        pass

    device_id = 42
    features = 1
    config = b"\0\0\0\0"
    queues = (VirtioQueue(),)

    def __init__(self, options):
        pass

    def handle(self, queue, readable, writable):
        if not writable:
            raise UnsupportedError("no room")
        writable[0] = 1
        return 1

    def close(self):
        pass


@breaks("virtio", "says_what_it_is")
class TransportsFeatures(Device):
    features = 1 << 32


@breaks("virtio", "is_the_same_in_each_incarnation")
class Changes(Device):
    def __init__(self, options):
        self.config = os.urandom(8)


@breaks("virtio", "answers_or_refuses_anything")
class Trusts(Device):
    def handle(self, queue, readable, writable):
        return struct.unpack_from("<I", readable)[0]
