"""The process: its arguments, its two sockets, its threads, how it starts and how it ends.

The main thread waits for the signal that ends it, one thread takes grants, and the gRPC server's
pool carries the guests' I/O. The token comes in the environment, where other users cannot read it.

SIGTERM ends it in order: streams are closed, and with them the drivers, flushed. If its parent
dies, it is killed: nobody would be left to say that it is dead, and nothing may be replayed before.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from service_os.device import Device
from service_os.grants import GrantServer, Windows
from service_os.server import AddMore, serve_io
from service_os.session import MakeDevice, Sessions

MISUSE = 2
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PATH_BYTES = 107  # sun_path of unix(7), without the final zero
GRANT_BACKLOG = 64
PRIVATE = 0o600


class StartError(Exception):
    """It cannot start: one line that names the thing and the cure."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(prog="service_os", description="Serves the I/O of guests.")
    parser.add_argument("--name", required=True, help="of this service OS")
    parser.add_argument("--epoch", required=True, type=int, help="number of this incarnation")
    parser.add_argument("--listen", required=True, type=Path, help="socket for DeviceIo")
    parser.add_argument("--grants", required=True, type=Path, help="socket for grant windows")
    parser.add_argument("--failpoints", action="store_true", help="let faults be injected")
    parser.add_argument("--ready-fd", type=int, help="gets one byte when it serves")
    options = parser.parse_args(arguments)
    try:
        _serve(options)
    except StartError as error:
        print(f"service OS {options.name}: {error}", file=sys.stderr)
        return MISUSE
    return 0


def _serve(options: argparse.Namespace) -> None:
    token = os.environ.get("SPLITVISOR_TOKEN", "")
    if not token:
        raise StartError("no token: set SPLITVISOR_TOKEN")
    run_dir = Path(os.environ.get("SPLITVISOR_RUN_DIR") or options.listen.parent)
    _belong_to_parent()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of shared folders much may be open
    sys.stdout = sys.stderr  # what a driver prints is no guest's output
    windows = Windows()
    device: MakeDevice = Device
    add_more: AddMore = None
    if options.failpoints:
        from service_os.faults.service import Faults  # noqa: PLC0415  # only when asked for

        faults = Faults(token)
        device, add_more = faults.device, faults.add_to
    sessions = Sessions(windows, options.epoch, token, run_dir, device)
    with (
        _signals(signal.SIGTERM, signal.SIGINT) as wait_for_signal,
        _listener(options.grants) as listener,
        _serving(sessions, options.listen, add_more) as stop,
    ):
        grants = GrantServer(windows, options.epoch, token)
        threading.Thread(target=grants.serve, args=(listener,), daemon=True).start()
        _say_ready(options.ready_fd)
        wait_for_signal()
        stop()


@contextlib.contextmanager
def _signals(*numbers: int) -> Iterator[Callable[[], None]]:
    """A function that waits for one of these signals, also if it came before."""
    arrived, arrives = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(arrived, True)
    signal.set_wakeup_fd(arrives, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(arrived, 1)

    yield wait


def _belong_to_parent() -> None:
    """Die with the parent; be in nobody's process group, and nothing to a terminal's signals."""
    parent = os.getppid()
    if os.getsid(0) != os.getpid():  # or it has what follows, and others would hear of it
        os.setpgid(0, 0)
        with contextlib.suppress(OSError), open("/dev/tty", "rb", buffering=0) as terminal:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)  # in the background, a read would stop it
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise StartError("the process that started it has gone")


@contextlib.contextmanager
def _serving(sessions: Sessions, path: Path, add_more: AddMore) -> Iterator[Callable[[], None]]:
    _check_length(path)
    try:
        stop = serve_io(sessions, path, add_more)
    except RuntimeError:
        raise StartError(f"cannot listen at {path}: is its directory there and writable?") from None
    path.chmod(PRIVATE)
    yield stop
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    _check_length(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            raise StartError(f"cannot listen at {path}: {error.strerror}") from None
        try:
            path.chmod(PRIVATE)
            listener.listen(GRANT_BACKLOG)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) > PATH_BYTES:
        raise StartError(f"socket path {path} is longer than {PATH_BYTES} bytes: use a shorter one")


def _say_ready(fd: int | None) -> None:
    if fd is not None:
        os.write(fd, b"1")
        os.close(fd)
