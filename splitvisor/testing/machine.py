"""A machine that runs beside a test: `splitvisor up`, disturbed and watched from outside.

Nothing here is simulated: core, service OSes and guests are the processes that users have, and all
that is asked of them goes through the socket that `splitvisor service` and `fault` use.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc

from drivers.options import nearest
from protos import core_pb2 as core
from protos import faults_pb2 as faults
from protos import operator_pb2 as operator
from protos import operator_pb2_grpc as operator_grpc
from splitvisor.cli.fault_parsing import check_disk, parse_fault
from splitvisor.machine import OnReset
from splitvisor.supervisor import rpc
from splitvisor.supervisor.outage import Outage
from splitvisor.supervisor.run_directory import OPERATOR_SOCKET
from splitvisor.testing import events
from splitvisor.testing.description import console_of, tables
from splitvisor.testing.events import Event, Story
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.guest import Guest, has_ended
from splitvisor.testing.signals import deferred

T = TypeVar("T")
START = 60.0  # seconds for a machine to start on a loaded host
ANSWER = 30.0  # for a call
UPGRADE = 60.0
END = 30.0


class Machine:
    """One machine; `folder` has its file and the consoles of its guests."""

    def __init__(self, file: Path, run_root: Path, environment: Mapping[str, str]) -> None:
        self.name, self._guests = tables(file)
        self.folder = file.parent
        self._begins = {name: _size(self._console(name)) for name in self._guests}
        self.story = Story()
        self._followed = False
        self._run = run_root / self.name
        # -P: what lies about in the current directory is not to be imported.
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "splitvisor"),
                *("--run-root", str(run_root), "up", "--while-heard", str(file)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for the test, which then ends the machine
        )
        self.pid = self._process.pid  # of the supervisor
        self._channel = rpc.channel(self._run / OPERATOR_SOCKET)
        self._stub: Any = operator_grpc.OperatorStub(self._channel)
        self._threads = [
            threading.Thread(target=self._listen, name="stderr"),
            threading.Thread(target=self._follow, name="events"),
        ]
        for thread in self._threads:
            thread.start()

    def started(self) -> "Machine":
        """Wait until all guests run; MachineFailure with what it said if it does not come to it."""
        words = f"splitvisor: machine {self.name} runs: "

        def look() -> bool | None:
            runs = any(line.startswith(words) for line in self.story.lines)
            return (runs and self._followed) or None

        self.wait_until("the machine to run", look, START)
        return self

    @property
    def runs(self) -> bool:
        """Whether its supervisor does."""
        return self._process.poll() is None

    @property
    def outages(self) -> list[Outage]:
        """All outages and upgrades that have ended, in order."""
        return [event.outage for event in list(self.story.events) if event.outage is not None]

    def status(self) -> operator.MachineStatus:
        """Everything that `splitvisor ps --json` has."""
        reply: operator.MachineStatus = self._ask("Status", operator.StatusRequest())
        return reply

    def service(self, name: str = "") -> operator.ServiceStatus:
        """The state of a service OS, the first if there is no name."""
        services = {one.name: one for one in self.status().services}
        return services[self._known("service OS", name, services)]

    def guest(self, name: str = "") -> Guest:
        """A guest, the first if there is no name."""
        name = self._known("guest", name, self._guests)

        def status() -> core.GuestStatus:
            absent = core.GuestStatus(name=name)  # for the moment, as it is started anew
            return next((one for one in self.status().guests if one.name == name), absent)

        return self._guest(name, status)

    def device(self, name: str) -> core.DeviceStatus:
        """The state of GUEST/DEVICE, or of DEVICE of the first guest that has it."""
        return self._find(name)[1]

    def fault(
        self,
        action: str,
        *,
        at: str = "",
        device: str = "",
        service: str = "",
        standby: bool = False,
        **more: Any,
    ) -> operator.FaultReply:
        """Make a service OS misbehave; `more` is as in `splitvisor.cli.fault_parsing`.

        Without `at`, kill and stop are signals; anything else needs failpoints. MachineFailure
        also if all guests that have the device have ended: it would act on nothing.
        """
        wanted = parse_fault(action, at, device, **more)
        if wanted.only_sector:
            check_disk(wanted, self.status().guests)
        if wanted.device:
            self._check_used(wanted.guest, wanted.device)
        request = operator.FaultRequest(service=service, standby=standby, fault=wanted)
        reply: operator.FaultReply = self._ask("InjectFault", request)
        return reply

    def faults(self, service: str = "") -> list[faults.Armed]:
        """Those that are armed in the service OS that serves, and how often they acted."""
        reply = self._ask("ListFaults", operator.ListFaultsRequest(service=service))
        return list(reply.faults)

    def clear_faults(self, service: str = "") -> int:
        """Disarm what has not acted yet; how many these were."""
        cleared: int = self._ask(
            "ClearFaults", operator.ClearFaultsRequest(service=service)
        ).cleared
        return cleared

    def upgrade(self, service: str = "") -> operator.UpgradeReply:
        """Move all devices of a service OS to a fresh one, with the code that is there now."""
        reply: operator.UpgradeReply = self._ask(
            "UpgradeService", operator.UpgradeRequest(name=service), UPGRADE
        )
        return reply

    def swap(self, device: str, spec: str, *, replace: bool = False) -> operator.SwapDriverReply:
        """Have the driver of `spec` serve GUEST/DEVICE, or DEVICE of the first guest, from now on.

        Relative paths start at the machine's folder. With `replace` a disk that no guest uses may
        get other content.
        """
        name = self._full(device)
        content = operator.CONTENT_REPLACED if replace else operator.CONTENT_SAME
        request = operator.SwapDriverRequest(
            device=name, spec=spec, content=content, root=str(self.folder)
        )
        reply: operator.SwapDriverReply = self._ask("SwapDriver", request, UPGRADE)
        return reply

    def migrate(self, device: str, spec: str, *, rate: int = 0) -> operator.Migration:
        """Begin to copy GUEST/DEVICE, or DEVICE of the first guest, to the driver of `spec`, which
        serves it afterwards; `rate` bytes a second at most, if not 0. Paths as for `swap`.
        """
        name = self._full(device)
        request = operator.MigrateRequest(device=name, spec=spec, root=str(self.folder), rate=rate)
        reply: operator.Migration = self._ask("MigrateDisk", request, UPGRADE)
        return reply

    def migration(self, device: str) -> operator.Migration:
        """The last one of a device, under way or ended."""
        request = operator.MigrationRef(device=self._full(device))
        reply: operator.Migration = self._ask("GetMigration", request)
        return reply

    def abort_migration(self, device: str) -> operator.Migration:
        """End it; what became of it."""
        request = operator.MigrationRef(device=self._full(device))
        reply: operator.Migration = self._ask("AbortMigration", request, UPGRADE)
        return reply

    def release(self, device: str) -> None:
        """Give a device out of quarantine back to its service OS."""
        self._ask("ReleaseDevice", operator.ReleaseDeviceRequest(device=device))

    def wait_for(self, kind: str, seconds: float = 60) -> Event:
        """The next event of this kind, also one from before; each call takes another one."""
        if kind not in (known := events.kinds()):
            raise MachineFailure(f"no kind of event {kind!r}{nearest(kind, known)}")
        return self.wait_until(f"event {kind}", lambda: self.story.take(kind), seconds)

    def wait_for_requests(self, count: int, device: str = "disk0", seconds: float = 60) -> None:
        """Until so many more requests of a device have been completed.

        MachineFailure if its guest has ended before.
        """
        wanted = self.device(device).completions + count

        def look() -> bool | None:
            guest, found = self._find(device)
            if found.completions < wanted and self._has_ended(guest):
                raise MachineFailure(f"{self._end_of(guest)}; its {found.name} is not used")
            return found.completions >= wanted or None

        self.wait_until(f"{count} requests of {device}", look, seconds)

    def wait_for_standby(self, seconds: float = 60) -> None:
        """Until all service OSes serve, and those that are to have a standby have it ready."""

        def look() -> bool | None:
            return all(map(_settled, self.status().services)) or None

        self.wait_until("a service OS and its standby", look, seconds)

    def wait_until(self, what: str, look: Callable[[], T | None], seconds: float) -> T:
        """What `look` returns once it is not None; MachineFailure if that never comes."""
        gone = False

        def look_on() -> T | bool | None:
            nonlocal gone
            gone = not self.runs
            return True if gone else look()

        found = self.story.wait(look_on, seconds)
        if gone:
            self._threads[0].join()
            raise MachineFailure(
                f"machine {self.name} ended (status {self._process.returncode}) before {what}: "
                f"{self._last_words()}"
            )
        if found is None:
            problem = f"{what}: not within {seconds:g} s on machine {self.name}"
            raise MachineFailure("; ".join([*self._ended_guests(), problem]))
        return found  # type: ignore[return-value]  # not gone, so it is look's

    def processes(self) -> dict[str, int]:
        """Pids of the core and of each service OS and standby, by what they are."""
        status = self.status()
        found = {"core": status.core_pid}
        for service in status.services:
            found |= {service.name: service.pid, f"{service.name}'s standby": service.standby.pid}
        return {name: pid for name, pid in found.items() if pid}

    def cut_power(self) -> None:
        """End all processes at one moment, as a loss of power would: nothing is flushed."""
        self._process.send_signal(signal.SIGSTOP)  # it would start others in their place
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in (os.getpid(), self.pid):
                _kill_if(int(entry.name), os.fsencode(self._run) + b"/")
        self._process.kill()
        self._gone()
        shutil.rmtree(self._run, ignore_errors=True)

    def end(self) -> int:
        """End it in order, or by force if it does not; the exit status of `splitvisor up`."""
        if self.runs:
            self._process.terminate()
            try:
                self._process.wait(END)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._gone()
        return self._process.returncode

    def _known(self, what: str, name: str, names: Iterable[str]) -> str:
        """The name, the first if there is none; MachineFailure if it is not among them."""
        known = list(names)
        if not known or (name and name not in known):
            problem = f"no {what} {name!r}{nearest(name, known)}" if known else f"no {what}"
            raise MachineFailure(f"machine {self.name} has {problem}")
        return name or known[0]

    def _find(self, name: str) -> tuple[core.GuestStatus, core.DeviceStatus]:
        """GUEST/DEVICE, or DEVICE of the first guest that has it; and the guest."""
        guest, _, device = name.rpartition("/")
        for one in self.status().guests:
            for found in one.devices:
                if found.name == device and guest in ("", one.name):
                    return one, found
        raise MachineFailure(f"machine {self.name} has no device {name!r}")

    def _check_used(self, owner: str, name: str) -> None:
        """MachineFailure if a device, of any guest if there is no owner, has nobody to use it."""
        having = [
            guest
            for guest in self.status().guests
            if owner in ("", guest.name) and name in [device.name for device in guest.devices]
        ]
        if having and all(map(self._has_ended, having)):
            raise MachineFailure(f"{self._end_of(having[0])}; its {name} is not used")

    def _ended_guests(self) -> list[str]:
        """How each guest ended that has; none if the machine does not answer."""
        with suppress(MachineFailure):
            return [self._end_of(guest) for guest in self.status().guests if self._has_ended(guest)]
        return []

    def _has_ended(self, status: core.GuestStatus) -> bool:
        return has_ended(status, self._restarts(status.name))

    def _restarts(self, guest: str) -> bool:
        """Whether it is started anew after a reset."""
        chosen = self._guests[guest].get("on_reset", OnReset.RESTART)
        return bool(chosen == OnReset.RESTART)

    def _end_of(self, status: core.GuestStatus) -> str:
        return self._guest(status.name, lambda: status).end()

    def _guest(self, name: str, status: Callable[[], core.GuestStatus]) -> Guest:
        restarts, begin = self._restarts(name), self._begins[name]
        return Guest(name, self._console(name), self.wait_until, status, restarts, begin)

    def _console(self, guest: str) -> Path:
        return self.folder / console_of(guest, self._guests[guest])

    def _full(self, device: str) -> str:
        return device if "/" in device else f"{self.guest().name}/{device}"

    def _gone(self) -> None:
        self._process.wait()
        self._channel.close()
        for thread in self._threads:
            thread.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _ask(self, method: str, request: Any, seconds: float = ANSWER) -> Any:
        try:
            with deferred():
                call = getattr(self._stub, method)
                return call(request, timeout=seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            problem = rpc.failure(f"machine {self.name}", error)
            raise MachineFailure(str(problem)) from None
        except ValueError:  # the channel is closed
            raise MachineFailure(f"machine {self.name} has ended: {self._last_words()}") from None

    def _last_words(self) -> str:
        return " / ".join(self.story.lines[-3:]) or "it said nothing"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.story.say(line.decode(errors="replace").rstrip())
        self._channel.close()  # the process is gone; whoever waits for an answer need not
        self.story.wake()

    def _follow(self) -> None:
        try:
            messages = self._stub.Events(core.WatchRequest(), wait_for_ready=True)
            messages.initial_metadata()  # from here on nothing is missed
            self._followed = True
            for message in messages:
                self.story.add(events.translate(message))
        except (grpc.RpcError, ValueError):  # the machine or the channel is gone
            self.story.wake()


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _settled(service: operator.ServiceStatus) -> bool:
    return service.state == operator.SERVICE_SERVING and service.standby.state in (
        operator.STANDBY_OFF,
        operator.STANDBY_READY,
    )


def _kill_if(pid: int, words: bytes) -> None:
    """SIGKILL a process that has the words on its command line."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if words in Path(f"/proc/{pid}/cmdline").read_bytes():
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (OSError, ProcessLookupError):
        pass
    finally:
        os.close(fd)
