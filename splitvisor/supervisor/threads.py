"""What the kernel's scheduler knows of a process's threads (proc(5), Documentation/scheduler).

`run_delay` is the time that a thread was runnable and did not run. The kernel adds to it when the
wait is over, so a thread that is waiting now shows its wait only by its state.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread; nanoseconds since it began."""

    state: str  # R, S, D, T, ... as in /proc/PID/stat
    run: int
    run_delay: int


Threads = Mapping[int, Thread]  # by thread id


def threads_of(pid: int) -> dict[int, Thread]:
    """All threads of a process; none if it is gone."""
    found: dict[int, Thread] = {}
    try:
        ids = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for name in ids:
        folder = f"/proc/{pid}/task/{name}"
        try:
            run, delay, _ = _read(f"{folder}/schedstat").split()
            state = _read(f"{folder}/stat").rpartition(b")")[2].split()[0]
        except (OSError, ValueError):
            continue  # it has ended in between
        found[int(name)] = Thread(state.decode(), int(run), int(delay))
    return found


def pressure() -> int:
    """Nanoseconds, since the host started, in which somebody waited for a processor.

    0 for ever where the kernel does not keep account of that (Documentation/accounting/psi).
    """
    try:
        some = _read("/proc/pressure/cpu").split(b"\n", 1)[0]
    except OSError:
        return 0
    return int(some.rpartition(b"total=")[2]) * 1000


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
