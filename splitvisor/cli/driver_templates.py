"""What `splitvisor driver new` writes: @NAME@, @CLASS@ and @KIND@ stand for the driver's."""

PYPROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "@NAME@"
version = "0.1.0"

[project.entry-points."splitvisor.drivers"]
"@KIND@.@NAME@" = "@NAME@:@CLASS@"

[tool.setuptools]
py-modules = ["@NAME@"]

[tool.pytest.ini_options]  # its tests are its own, also below a project that has some
"""

_BLOCK = '''\
"""A disk in an image file. The first sentence is what `splitvisor driver ls` shows."""

import os
from dataclasses import dataclass
from pathlib import Path

from drivers.block_file import FileBlock
from drivers.interface import Claim, DriverError
from drivers.rawio import medium_error, read_all, write_all


class @CLASS@:
    @dataclass(frozen=True)
    class Options:
        path: Path  # the image; comments like this one are what `splitvisor driver show` shows

    readonly = False
    identity = "@NAME@"[:20]  # what guests read as serial number

    @staticmethod
    def claims(options):  # no other device may have these files meanwhile
        return (Claim(options.path, exclusive=True),)

    @staticmethod
    def content(options):  # the same bytes as block.file has, which may so take over from it
        return FileBlock.content(FileBlock.Options(options.path))

    def __init__(self, options):  # changes nothing: another process may be serving
        try:
            self.fd = os.open(options.path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise DriverError(f"disk {options.path}: {error.strerror}") from None
        self.path = options.path
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        if self.size == 0 or self.size % 512:
            os.close(self.fd)
            raise DriverError(f"disk {options.path} has {self.size} bytes: make it n times 512")

    def read(self, offset, into):
        try:
            read_all(self.fd, offset, into)
        except OSError as error:
            raise medium_error(error) from error  # the guest sees an I/O error

    def write(self, offset, data):  # what it returns from survives SIGKILL: keep no cache
        try:
            write_all(self.fd, offset, data)
        except OSError as error:
            raise medium_error(error) from error

    def flush(self):
        try:
            os.fdatasync(self.fd)
        except OSError as error:
            raise medium_error(error) from error

    def close(self):
        os.close(self.fd)
'''

_CONSOLE = '''\
"""A console with output to a file. The first sentence is what `splitvisor driver ls` shows."""

import os
from dataclasses import dataclass
from pathlib import Path

from drivers.interface import Claim, DriverError
from drivers.rawio import medium_error, write_all


class @CLASS@:
    @dataclass(frozen=True)
    class Options:
        path: Path  # the file; comments like this one are what `splitvisor driver show` shows

    positional = True  # writing the same bytes again at the same position changes nothing
    origin = 0

    @staticmethod
    def claims(options):  # no other device may have these files meanwhile
        return (Claim(options.path, exclusive=True),)

    def __init__(self, options):  # changes nothing: another process may be serving
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self.fd = os.open(options.path, flags, 0o644)
        except OSError as error:
            raise DriverError(f"file {options.path}: {error.strerror}") from None

    def begin(self):  # from now on this process serves: see what the one before has left
        self.origin = os.lseek(self.fd, 0, os.SEEK_END)

    def write(self, data, position):
        try:
            write_all(self.fd, position, data)
        except OSError as error:
            raise medium_error(error) from error

    def start(self, deliver, rank):
        """Call `deliver(data)` from a thread for what is typed; here nobody types."""

    def close(self):
        os.close(self.fd)
'''

_ENTROPY = '''\
"""Random bytes of the host. The first sentence is what `splitvisor driver ls` shows."""

import os
from dataclasses import dataclass


class @CLASS@:
    @dataclass(frozen=True)
    class Options:
        pass  # a field such as `path: Path  # help` is an option

    def __init__(self, options):
        pass

    def fill(self, into):  # with bytes that were never given out, also by processes before
        into[:] = os.urandom(len(into))

    def close(self):
        pass
'''

_CLOCK = '''\
"""A clock like the host's. The first sentence is what `splitvisor driver ls` shows."""

import time
from dataclasses import dataclass

from drivers.options import Shift


class @CLASS@:
    @dataclass(frozen=True)
    class Options:
        by: Shift = Shift(0.0)  # how far it is ahead

    def __init__(self, options):
        self.by = options.by

    def now(self):  # seconds since 1970
        return time.time() + self.by

    def close(self):
        pass
'''

_NET = '''\
"""A cable into the void. The first sentence is what `splitvisor driver ls` shows."""

from dataclasses import dataclass

from drivers.ethernet import USUAL_MTU, NetOptions


class @CLASS@:
    @dataclass(frozen=True, kw_only=True)
    class Options(NetOptions):
        """`mac` and `mtu`, which every network card has; a field more is an option more."""

    link = True

    def __init__(self, options):  # takes nothing yet: another process may be serving
        self.mac = options.address
        self.mtu = options.mtu or USUAL_MTU

    def begin(self):  # from now on this process serves
        pass

    def send(self, frames):  # memoryviews, which are only lent
        pass

    def start(self, deliver, changed):
        """Call `deliver([frame, ...])` from a thread for what arrives; here nothing does."""

    def close(self):
        pass
'''

_FOLDER = '''\
"""A directory that tells what is removed. The first sentence is what `driver ls` shows."""

import sys
from dataclasses import dataclass

from drivers.folder_directory import DirectoryFolder


class @CLASS@(DirectoryFolder):  # drivers/folders.py says what a folder is without its help
    @dataclass(frozen=True)
    class Options(DirectoryFolder.Options):
        """`path`, `tag` and `readonly`, which that has; a field more is an option more."""

    def remove(self, path, directory):  # paths are bytes; OSError is what the guest sees
        super().remove(path, directory)
        print(f"{self.tag}: {path!r} is removed", file=sys.stderr, flush=True)
'''

_VIRTIO = '''\
"""A device that adds bytes up. The first sentence is what `splitvisor driver ls` shows."""

from dataclasses import dataclass

from drivers.interface import UnsupportedError, VirtioQueue


class @CLASS@:
    @dataclass(frozen=True)
    class Options:
        pass  # a field such as `path: Path  # help` is an option

    device_id = 42  # what a guest's driver looks for: virtio 1.2, section 5
    features = 0
    config = b""  # the configuration space
    queues = (VirtioQueue(64),)

    def __init__(self, options):
        pass

    def handle(self, queue, readable, writable):  # memoryviews, which are only lent
        if not writable:
            raise UnsupportedError("there is no room for a sum")
        writable[0] = sum(readable) % 256
        return 1  # so many bytes are written

    def close(self):
        pass
'''

DRIVERS = {
    "block": _BLOCK,
    "console": _CONSOLE,
    "entropy": _ENTROPY,
    "clock": _CLOCK,
    "net": _NET,
    "folder": _FOLDER,
    "virtio": _VIRTIO,
}

_IN_FILE = """\
from splitvisor.testing.conformance import assert_conforms


def test_it_keeps_the_contract(tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(@SIZE@))
    assert_conforms("@KIND@", f"@NAME@:path={tmp_path}/a.img")
"""

_IN_FOLDER = """\
from splitvisor.testing.conformance import assert_conforms


def test_it_keeps_the_contract(tmp_path):
    (tmp_path / "shared").mkdir()
    assert_conforms("@KIND@", f"@NAME@:path={tmp_path}/shared")
"""

_PLAIN = """\
from splitvisor.testing.conformance import assert_conforms


def test_it_keeps_the_contract():
    assert_conforms("@KIND@", "@NAME@")
"""

TEST = dict.fromkeys(DRIVERS, _PLAIN) | {
    "block": _IN_FILE.replace("@SIZE@", "8 << 20"),
    "console": _IN_FILE.replace("@SIZE@", "0"),
    "folder": _IN_FOLDER,
}
