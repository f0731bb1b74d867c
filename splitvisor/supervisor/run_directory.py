"""Where machines keep their sockets, logs and lock while they run.

One folder per machine under a run root that only its user may enter. A machine holds an flock on
the file `lock` in its folder for as long as its supervisor lives; the kernel lets go of it however
the supervisor ends, so a folder whose lock is free is what a dead machine left behind. Looking at
locks and making or removing folders happens under the root's own lock, so that nobody takes a
folder that is just being made for a dead one.

A folder without a lock file of ours is never touched: a run root may be any directory.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splitvisor.errors import UserError

SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), without the final zero
LOCK = "lock"
OPERATOR_SOCKET = "operator.sock"
CORE_SOCKET = "core.sock"
_MARK = "splitvisor "  # begins a lock file; the supervisor's pid follows
_LONGEST_EPOCH = 999_999  # of a service OS, in the longest socket path that is foreseen


@dataclass(frozen=True, slots=True)
class Running:
    """A machine that runs under a run root."""

    name: str
    pid: int  # of its supervisor
    path: Path

    @property
    def operator_socket(self) -> Path:
        """Where its supervisor answers."""
        return self.path / OPERATOR_SOCKET


class RunDirectory:
    """The folder of one machine, and the lock that makes it ours; as a context removed at exit."""

    def __init__(self, root: Path, name: str, lock: int) -> None:
        self.root = root
        self.name = name
        self.path = root / name
        self._lock = lock

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def core_socket(self) -> Path:
        """Where the core answers."""
        return self.path / CORE_SOCKET

    @property
    def operator_socket(self) -> Path:
        """Where the supervisor answers."""
        return self.path / OPERATOR_SOCKET

    def service_sockets(self, service: str, epoch: int) -> tuple[Path, Path]:
        """Paths of DeviceIo and of grants for one incarnation; no two share one."""
        return _service_sockets(self.path, service, epoch)

    def log(self, process: str) -> Path:
        """What a child writes to its standard error."""
        return self.path / f"{process}.log"

    def remove(self) -> None:
        """Take the folder away and let go of the lock; may be repeated."""
        if self._lock < 0:
            return
        with _root_lock(self.root):
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def default_root() -> Path:
    """The run root unless told otherwise, as the README documents it."""
    if chosen := os.environ.get("SPLITVISOR_RUN_ROOT"):
        return Path(chosen)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "splitvisor"
    return Path(tempfile.gettempdir()) / f"splitvisor-{os.geteuid()}"


def claim(
    root: Path, name: str, services: tuple[str, ...], *, rename: bool = False
) -> RunDirectory:
    """Make the folder of machine `name` and lock it.

    With `rename`, a name that is taken gets a number behind it. UserError if the machine runs
    already, if a socket's path would be too long, or if the root cannot be used.
    """
    root = Path(os.path.abspath(root))
    check_socket_paths(root, name, services)
    _make_root(root)
    with _root_lock(root):
        _clean(root)
        wanted, number = name, 1
        while (holder := _holder(root / name)) is not None and rename:
            number += 1
            name = f"{wanted}-{number}"
        if holder is not None:
            raise UserError(
                f"machine {name} runs already (pid {holder}): stop it with "
                f"'splitvisor stop {name}', or give this one another name"
            )
        folder = root / name
        if folder.exists():
            raise UserError(
                f"{folder} is in the way and no run directory of splitvisor: remove it, or name "
                "another directory with --run-root"
            )
        try:
            lock = _make_folder(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(
                f"run directory {folder} cannot be made: {error.strerror}; make that possible, or "
                "name another run root with --run-root"
            ) from None
    return RunDirectory(root, name, lock)


def running(root: Path) -> list[Running]:
    """The machines that run under `root`, by name; none if there is no such root.

    What dead machines left is taken away.
    """
    if not root.is_dir():
        return []
    with _root_lock(root):
        _clean(root)
        return [
            Running(folder.name, holder, folder)
            for folder in sorted(root.iterdir())
            if (holder := _holder(folder)) is not None
        ]


def check_socket_paths(root: Path, name: str, services: tuple[str, ...]) -> None:
    """UserError if a socket of the machine would have a path that the kernel refuses."""
    folder = root / name
    paths = [folder / OPERATOR_SOCKET]
    for service in services:
        paths += _service_sockets(folder, service, _LONGEST_EPOCH)
    longest = max(paths, key=lambda path: len(os.fsencode(path)))
    excess = len(os.fsencode(longest)) - SOCKET_PATH_LIMIT
    if excess > 0:
        raise UserError(
            f"socket path {longest} is {excess} bytes longer than the {SOCKET_PATH_LIMIT} that "
            "Unix sockets allow: name a shorter directory with --run-root"
        )


def _service_sockets(folder: Path, service: str, epoch: int) -> tuple[Path, Path]:
    return folder / f"{service}.{epoch}.io", folder / f"{service}.{epoch}.grants"


def _make_root(root: Path) -> None:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = root.stat().st_uid
    except OSError as error:
        raise UserError(
            f"run root {root} cannot be made: {error.strerror}; name another with --run-root"
        ) from None
    if owner != os.geteuid():
        raise UserError(
            f"run root {root} belongs to another user (uid {owner}): name one of yours with "
            "--run-root"
        )


def _make_folder(folder: Path) -> int:
    """Make the folder of a machine; the descriptor that holds its lock."""
    folder.mkdir(mode=0o700)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, f"{_MARK}{os.getpid()}\n".encode())
    except BaseException:
        os.close(lock)
        raise
    return lock


@contextmanager
def _root_lock(root: Path) -> Iterator[None]:
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"run root {root} cannot be read: {error.strerror}; name another with --run-root"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _holder(folder: Path) -> int | None:
    """The pid of the supervisor that holds the folder's lock, if one does."""
    state = _lock_state(folder)
    return state[1] if state and state[0] else None


def _lock_state(folder: Path) -> tuple[bool, int] | None:
    """Whether the lock is held, and the pid in it; None if the folder has no lock of ours."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        text = os.read(fd, 64).decode("ascii", "replace")
        if not text.startswith(_MARK):
            return None
        pid = int(text.removeprefix(_MARK))
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, pid
        return False, pid
    except ValueError:
        return None
    finally:
        os.close(fd)


def _clean(root: Path) -> None:
    """Take away what dead machines left; under the root's lock."""
    for folder in root.iterdir():
        state = _lock_state(folder)
        if state is not None and not state[0]:
            shutil.rmtree(folder, ignore_errors=True)
