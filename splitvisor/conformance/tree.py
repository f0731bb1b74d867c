"""What checks of shared folders share: a place of their own in one, and what is in it."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from splitvisor.conformance.contract import InapplicableError, demand

Node = tuple[str, int, bytes]  # its type, mode, and what a file holds or a link says
Tree = dict[bytes, Node]  # by path, without the place itself


def place_of() -> bytes:
    """The path of a directory that nobody has yet."""
    return b"conformance-%d-%d" % (os.getpid(), time.monotonic_ns())


def make_place(folder: Any, place: bytes) -> None:
    """Make it; InapplicableError if the folder is read-only."""
    try:
        folder.make_directory(place, 0o755)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise InapplicableError("the folder is read-only") from None
        raise


@contextmanager
def own_place(folder: Any) -> Iterator[bytes]:
    """A directory to work in, which is gone afterwards."""
    place = place_of()
    make_place(folder, place)
    try:
        yield place
    finally:
        clear(folder, place)


def clear(folder: Any, path: bytes) -> None:
    """Remove a directory and all below it, as far as that can be done."""
    with suppress(OSError):
        for name, mode in listed(folder, path):
            below = path + b"/" + name
            if stat.S_ISDIR(mode):
                clear(folder, below)
            else:
                folder.remove(below, False)
        folder.remove(path, True)


def listed(folder: Any, path: bytes) -> list[tuple[bytes, int]]:
    """Names in a directory, with the mode that each has by itself."""
    directory = folder.open(path, os.O_RDONLY)
    try:
        names = [entry.name for entry in directory.names()]
    finally:
        directory.close()
    above = b"" if path == b"." else path + b"/"
    return [(name, folder.stat(above + name).st_mode) for name in sorted(names)]


def tree(folder: Any, path: bytes) -> Tree:
    """All that is below a directory."""
    found: Tree = {}
    for name, mode in listed(folder, path):
        below = path + b"/" + name
        permissions = stat.S_IMODE(mode)
        if stat.S_ISDIR(mode):
            found[name] = "directory", permissions, b""
            found |= {name + b"/" + each: node for each, node in tree(folder, below).items()}
        elif stat.S_ISLNK(mode):
            found[name] = "link", 0, folder.read_symlink(below)
        else:
            found[name] = "file", permissions, content(folder, below)
    return found


def content(folder: Any, path: bytes) -> bytes:
    """Of a file, by its path."""
    file = folder.open(path, os.O_RDONLY)
    try:
        return get(file, 0, file.stat().st_size)
    finally:
        file.close()


def get(file: Any, offset: int, length: int) -> bytes:
    """What an open file has there, at most so much."""
    into = memoryview(bytearray(length))
    count = file.read(offset, into)
    demand(type(count) is int and 0 <= count <= length, f"{count!r} bytes were read of {length}")
    return bytes(into[:count])


def put(file: Any, offset: int, data: bytes) -> None:
    """Write all of it."""
    done = 0
    while done < len(data):
        count = file.write(offset + done, memoryview(data)[done:])
        demand(
            type(count) is int and 0 < count <= len(data) - done,
            f"{count!r} bytes were written of {len(data) - done}",
        )
        done += count


def make_file(folder: Any, path: bytes, data: bytes, mode: int = 0o644) -> None:
    """A new one."""
    file = folder.create(path, os.O_RDWR, mode)
    try:
        put(file, 0, data)
    finally:
        file.close()


@contextmanager
def fails(what: str, *numbers: int) -> Iterator[None]:
    """ViolationError unless what is done inside raises OSError, with one of the numbers if any."""
    try:
        yield
    except OSError as error:
        named = ", ".join(errno.errorcode[number] for number in numbers)
        found = errno.errorcode.get(error.errno or 0, error.errno)
        demand(not numbers or error.errno in numbers, f"{what} fails with {found}, not {named}")
        return
    demand(False, f"{what} is done, and not refused")
