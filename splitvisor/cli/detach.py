"""A machine that goes on without the terminal it was started from.

The one who starts it execs another `splitvisor up` in a session of its own and waits on a pipe.
When all guests have been started, the machine's name comes through it. Until then both share
standard error, and the machine only uses it for the reason why it cannot start; so a failure looks
as it does in the foreground. If the one who waits is gone by then, nobody knows of the machine,
and it ends.

There is no terminal for consoles any more. Each that would have been on it gets a log in the run
directory instead, one per console, which goes away with the machine.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from drivers import spec
from splitvisor.cli import status as exit_status
from splitvisor.machine import Device, Guest, Machine
from splitvisor.supervisor.failure import MachineError

LOG = "supervisor.log"
STDERR = 2


def start(root: Path, file: Path, flags: Sequence[str]) -> int:
    """Start the machine of `file` in the background and print its name; the exit status.

    `flags` are those of `up` that hold for the machine.
    """
    ready, inherited = os.pipe()
    with os.fdopen(ready) as pipe:
        try:
            # -P: what lies about in the current directory is not to be imported.
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "splitvisor", "--run-root", str(root)),
                    *("up", "--ready-fd", str(inherited), *flags, "--", str(file)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(inherited,),
                start_new_session=True,
            )
        finally:
            os.close(inherited)
        try:
            name = pipe.read()
        except (KeyboardInterrupt, SystemExit):  # a signal; see splitvisor.__main__
            process.terminate()
            process.wait()
            raise
    if name:
        print(name)
        return 0
    status = process.wait()
    if status < 0:
        raise MachineError(f"the supervisor died by signal {-status} before all guests ran")
    return status or exit_status.STOPPED


class Detached:
    """The machine's side."""

    def __init__(self, ready_fd: int, machine: Machine, root: Path) -> None:
        self.machine = _without_terminal(machine, Path(os.path.abspath(root)) / machine.name)
        self._ready_fd = ready_fd

    def started(self, run_directory: Path) -> bool:
        """Move standard error to the log and tell who waits; whether there was anybody."""
        _log_to(run_directory / LOG)
        try:
            os.write(self._ready_fd, self.machine.name.encode())
        except BrokenPipeError:
            return False
        finally:
            os.close(self._ready_fd)
        return True


def _log_to(path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        log = os.open(path, flags, 0o600)
    except OSError:
        log = os.open(os.devnull, flags)  # the machine is being stopped: there is no folder
    os.dup2(log, STDERR)
    os.close(log)


def _without_terminal(machine: Machine, folder: Path) -> Machine:
    def moved(guest: Guest, device: Device) -> Device:
        if not device.on_terminal():
            return device
        path = str(folder / f"{guest.name}.{device.name}.out")
        return dataclasses.replace(device, spec=str(spec.Spec("log", {"path": path})))

    guests = (
        dataclasses.replace(guest, devices=tuple(moved(guest, device) for device in guest.devices))
        for guest in machine.guests
    )
    return dataclasses.replace(machine, guests=tuple(guests))
