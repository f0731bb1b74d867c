"""A Unix socket that listens at a path, whoever listened there before and is dead now.

A socket's path outlives the process that bound it, so a death leaves one that nobody answers at. It
is taken away; one where somebody does answer is not.
"""

import contextlib
import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.interface import DriverError

PAUSE_MS = 50  # where nobody can be accepted
PATH_BYTES = 107  # sun_path of unix(7), without the final zero


class Listener:
    """Calls `accepted` with each connection, on a thread of its own, until it is closed."""

    def __init__(self, path: Path, kind: int, accepted: Callable[[socket.socket], None]) -> None:
        self._path = path
        self._accepted = accepted
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, kind)
        try:
            with reachable(path) as address:
                _clear(path, kind, address)
                self._socket.bind(address)
            path.chmod(0o600)  # nobody gets in before it listens
            self._identity = _identity(path)
            self._socket.listen()
        except (OSError, DriverError) as error:
            os.close(self._end)
            self._socket.close()
            if isinstance(error, DriverError):
                raise
            raise DriverError(
                f"cannot listen at {path}: {error.strerror}; "
                "name a path in a directory that exists and may be written"
            ) from None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more; the path goes too, unless it is somebody else's by now."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._end)
        self._socket.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                self._path.unlink()

    def _run(self) -> None:
        poll, ending = select.poll(), select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        ending.register(self._end, select.POLLIN)
        while not any(fd == self._end for fd, _ in poll.poll()):
            try:
                self._accepted(self._socket.accept()[0])
            except OSError:  # who came has gone already, or there are no descriptors left
                ending.poll(PAUSE_MS)


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address for `path` that is short enough however long it is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def refuse_others(path: Path) -> None:
    """DriverError if there is something at `path` that is no socket, or no place for one."""
    if not path.parent.is_dir():
        raise DriverError(f"socket {path}: its directory does not exist: make it")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DriverError(f"socket {path} is a file of another kind: remove it or name another")


def _clear(path: Path, kind: int, address: str) -> None:
    refuse_others(path)
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except BlockingIOError:
            pass  # a listener with many waiting
        except FileNotFoundError:
            return
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise DriverError(f"socket {path}: somebody listens there already: name another path")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
