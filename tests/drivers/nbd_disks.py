"""Disks of NBD servers, opened and used, for tests."""

import contextlib

from drivers.interface import Keep
from drivers.registry import make


def opened(path, more="", timeout="20s"):
    return make("block", f"nbd:socket={path},timeout={timeout}{more}", Keep(path))


@contextlib.contextmanager
def begun(path, more="", timeout="20s"):
    disk = opened(path, more, timeout)
    try:
        disk.begin()
        yield disk
    finally:
        disk.close()


def got(disk, offset, length):
    into = bytearray(length)
    disk.read(offset, memoryview(into))
    return bytes(into)


def put(disk, offset, data):
    disk.write(offset, memoryview(data))
