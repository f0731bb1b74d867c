"""The core as a process: `python -m microhypervisor --listen SOCKET --ready-fd FD`.

Ends its guests and removes its socket on SIGTERM. It dies with its launcher, and no process of
the same user may look into it (it holds all guests' memory).
"""

import argparse
import ctypes
import os
import signal
import socket
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import trio

from microhypervisor.control import Control
from microhypervisor.cpu.select import PREFERENCE, back_end, problem_of
from microhypervisor.limits import MAX_MESSAGE
from microhypervisor.sched.scheduler import Scheduler
from protos import core_pb2_grpc

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_CONTROL_THREADS = 16  # calls and watches at once


def _positive(text: str) -> int:
    if (value := int(text)) <= 0:
        raise ValueError(text)
    return value


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
    parser.add_argument("--pcpus", type=_positive, metavar="N", help="vCPUs that may run at once")
    return parser.parse_args()


def _available_memory() -> int:
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        fields = dict(line.split(":", 1) for line in meminfo)
    return int(fields["MemAvailable"].split()[0]) << 10


async def _serve(arguments: argparse.Namespace) -> None:
    control = Control(
        Scheduler(arguments.pcpus or len(os.sched_getaffinity(0))),
        arguments.memory_budget or _available_memory(),
    )
    options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
    server = grpc.server(ThreadPoolExecutor(_CONTROL_THREADS), options=options)
    core_pb2_grpc.add_CoreServicer_to_server(control, server)
    server.add_insecure_port(f"unix:{arguments.listen}")
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        server.start()
        if arguments.ready_fd is not None:
            os.write(arguments.ready_fd, b"\n")
            os.close(arguments.ready_fd)
        async for _ in signals:
            break
    await trio.to_thread.run_sync(control.close)
    await trio.to_thread.run_sync(server.stop(grace=1.0).wait)


def main() -> int:
    """Serve until told to end; 2 and one line on stderr if that cannot begin."""
    arguments = _arguments()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    for name in PREFERENCE:
        if not problem_of(name):
            back_end(name).prepare()
    os.umask(0o077)  # the socket is for this user alone
    try:
        if arguments.ready_fd is not None:
            os.fstat(arguments.ready_fd)
        _clear_the_way(arguments.listen)
        trio.run(_serve, arguments)
    except (OSError, RuntimeError) as error:
        print(f"core: cannot serve on {arguments.listen}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
