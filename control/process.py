"""The core as a process: `python -m microhypervisor --listen SOCKET --ready-fd FD`.

Ends its guests and removes its socket on SIGTERM. It dies with its launcher, and no process of
the same user may look into it (it holds all guests' memory).
"""

import argparse
import ctypes
import gc
import os
import resource
import signal
import socket
import stat
import sys

import trio

from control.config import slice_of
from control.progress import Progress
from control.select import PREFERENCE, back_end, problem_of
from control.server import Server
from microhypervisor.core import Core
from microhypervisor.errors import EnvironmentFault, PeerFault
from microhypervisor.events import EventLog
from microhypervisor.limits import SLICE_NS
from microhypervisor.sched.host import SHORT_NS, set_slice
from microhypervisor.sched.scheduler import Scheduler
from sessions.directory import ServiceDirectory

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_TIMERSLACK = 29


def _positive(text: str) -> int:
    if (value := int(text)) <= 0:
        raise ValueError(text)
    return value


def _slice(text: str) -> int:
    try:
        return slice_of(int(text))
    except PeerFault as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _cpus(text: str) -> list[int]:
    cpus = [int(number) for number in text.split(",")]
    if missing := set(cpus) - os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"the host has no CPU {missing.pop()} for this process")
    return cpus


def _clear_the_way(path: str) -> None:
    """Remove a socket that nobody serves any more; anything else there is an error."""
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.lstat(path).st_mode) or probe.connect_ex(path) == 0:
            raise FileExistsError("something is there already: remove it or take another path")
    os.unlink(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m microhypervisor", description=__doc__)
    parser.add_argument("--listen", required=True, metavar="SOCKET", help="Unix socket to serve on")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="gets one byte when serving")
    parser.add_argument(
        "--memory-budget", type=_positive, metavar="BYTES", help="for all guests together"
    )
    parser.add_argument(
        "--pcpus",
        type=_cpus,
        default=sorted(os.sched_getaffinity(0)),
        metavar="CPU,...",
        help="a pCPU for each, bound to that CPU of the host (default: all there are)",
    )
    parser.add_argument("--policy", default="credit", help="of scheduling (default: %(default)s)")
    parser.add_argument("--slice", type=_slice, default=SLICE_NS, metavar="NS")
    return parser.parse_args()


def _available_memory() -> int:
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        fields = dict(line.split(":", 1) for line in meminfo)
    return int(fields["MemAvailable"].split()[0]) << 10


async def _serve(arguments: argparse.Namespace) -> None:
    scheduler = Scheduler(arguments.pcpus, arguments.policy, arguments.slice)
    events = EventLog()
    directory = ServiceDirectory(events)
    core = Core(scheduler, directory, events, arguments.memory_budget or _available_memory())
    server = Server(core, directory, arguments.listen)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        server.start()
        Progress(directory, events).start()
        if arguments.ready_fd is not None:
            os.write(arguments.ready_fd, b"\n")
            os.close(arguments.ready_fd)
        async for _ in signals:
            break
    await trio.to_thread.run_sync(core.close)
    await trio.to_thread.run_sync(server.stop)


def main() -> int:
    """Serve until told to end; 2 and one line on stderr if that cannot begin."""
    arguments = _arguments()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    libc.prctl(_PR_SET_TIMERSLACK, 1)  # nanoseconds, instead of 50 us by which slices end late
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a device takes some seven of them
    set_slice(SHORT_NS)
    if others := os.sched_getaffinity(0).difference(arguments.pcpus):
        os.sched_setaffinity(0, others)  # vCPUs' threads go where their pCPUs are
    for name in PREFERENCE:
        if not problem_of(name):
            back_end(name).prepare()
    gc.freeze()  # what is imported stays; to look through it takes tens of milliseconds each time
    os.umask(0o077)  # the socket is for this user alone
    try:
        if arguments.ready_fd is not None:
            os.fstat(arguments.ready_fd)
        _clear_the_way(arguments.listen)
        trio.run(_serve, arguments)
    except (OSError, RuntimeError, PeerFault, EnvironmentFault) as error:
        print(f"core: cannot serve on {arguments.listen}: {error}", file=sys.stderr)
        return 2
    return 0
