"""Where the machines of a test run: a run root of their own, and the end of all of them.

The run root is a short path under the system's folder for temporary files, because sockets live in
it. The one of a process that was killed, an empty folder, goes when the next is made. Drivers that
are not installed can be lent to all machines, see `lend`.
"""

import os
import select
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import splitvisor
from splitvisor.machine import DEFAULT_SERVICE, CpuChoice, ServiceSettings
from splitvisor.testing.description import Guest, tables, text
from splitvisor.testing.failure import MachineFailure
from splitvisor.testing.machine import END, Machine
from splitvisor.testing.signals import deferred


class Testbed:
    """Starts machines; as a context it ends them, and complains of what they leave behind.

    Files of machines are in `folder`: MACHINE.toml, and GUEST.log of each guest's console. Of a
    guest that another machine has had as well it is MACHINE.GUEST.log.
    """

    __test__ = False  # for pytest: no class of tests

    def __init__(self, folder: Path, cpu: CpuChoice = CpuChoice.AUTO) -> None:
        self.folder = folder
        self.cpu = cpu
        self.machines: list[Machine] = []
        self._root = _run_root()
        self._lent: list[str] = []
        self._logged: dict[str, str] = {}  # the machine whose guest of a name has the plain logs

    def __enter__(self) -> "Testbed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lend(self, path: Path, drivers: Mapping[str, str]) -> None:
        """Have machines find modules in `path`, and drivers by entry points of these names.

        As in `lend(tmp_path, {"block.mine": "module:Class"})`; whoever is started later finds what
        is there then.
        """
        place = self.folder / f"lent-{len(self._lent)}"
        info = place / "lent-1.dist-info"
        info.mkdir(parents=True)
        points = [f"{name} = {value}" for name, value in drivers.items()]
        (info / "entry_points.txt").write_text("\n".join(["[splitvisor.drivers]", *points, ""]))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lent\nVersion: 1\n")
        self._lent += [str(path), str(place)]

    def start(
        self,
        guest: str | Path,
        disks: Sequence[str] = (),
        arguments: str = "",
        *,
        name: str = "test",
        memory: str = "64M",
        com1: bool = False,
        outage: str = "hold",
        standby: bool = True,
        watchdog: bool = True,
        failpoints: bool = False,
    ) -> Machine:
        """A machine of one guest; comes back when it runs.

        `guest` is an image's path or one of the project's guests by name. Each disk is a spec such
        as `file:path=disk.img`, whose relative paths start in the test's folder.
        """
        image = guest_image(guest)
        plan = Guest(
            image.name, image, arguments, disks, memory, self.cpu, com1=com1, outage=outage
        )
        settings = ServiceSettings(standby, watchdog, failpoints)
        return self.start_all(name, [plan], {DEFAULT_SERVICE: settings})

    def start_all(
        self, name: str, guests: Sequence[Guest], services: Mapping[str, ServiceSettings]
    ) -> Machine:
        """A machine of several guests and service OSes."""
        file = self.folder / f"{name}.toml"
        file.write_text(text(name, [self._with_logs(name, guest) for guest in guests], services))
        return self.up(file)

    def up(self, file: Path) -> Machine:
        """The machine of a file; comes back when it runs."""
        name, _ = tables(file)
        if any(machine.name == name and machine.runs for machine in self.machines):
            another = f"name this one differently, as in name='{name}2'"
            raise MachineFailure(f"machine {name} runs already: {another}")
        with deferred():
            machine = Machine(file, self._root, self._environment())
            self.machines.append(machine)
        return machine.started()

    def close(self) -> None:
        """End everything; MachineFailure if a process or a run directory is left over."""
        with deferred():
            left = self._end_all()
        if left:
            raise MachineFailure(f"left over: {', '.join(left)}")

    def _with_logs(self, machine: str, guest: Guest) -> Guest:
        """The guest, with logs that no other machine's guest has."""
        plain = self._logged.setdefault(guest.name, machine) == machine
        return guest if plain else replace(guest, logs=f"{machine}.{guest.name}")

    def _environment(self) -> dict[str, str]:
        before = os.environ.get("PYTHONPATH")
        found = [*self._lent, *([before] if before else [])]
        return os.environ | ({"PYTHONPATH": os.pathsep.join(found)} if found else {})

    def _end_all(self) -> list[str]:
        for machine in self.machines:
            machine.end()
        left = [f"process {pid}" for pid in self._processes() if not _ends(pid)]
        left += [str(path) for path in sorted(self._root.glob("*"))]
        shutil.rmtree(self._root, ignore_errors=True)
        return left

    def _processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.fsencode(self._root) in _command(entry):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def guest_image(guest: str | Path) -> Path:
    """The path of an image: a name without a slash is one of the project's guests."""
    if isinstance(guest, Path) or "/" in guest:
        return Path(guest)
    return Path(splitvisor.__file__).parent.parent / "build" / "guests" / guest


def _run_root() -> Path:
    """A new one, with our pid in its name; empty ones of processes that are gone are removed."""
    for old in Path(tempfile.gettempdir()).glob("splitvisor-*-*"):
        pid = old.name.split("-")[1]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            with suppress(OSError):  # somebody else's, or a machine is still in it
                old.rmdir()
    return Path(tempfile.mkdtemp(prefix=f"splitvisor-{os.getpid()}-"))


def _command(entry: Path) -> bytes:
    return (entry / "cmdline").read_bytes()


def _ends(pid: int) -> bool:
    """Whether it ends by itself; those whose supervisor was killed do, but not at once."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], END)[0])
    finally:
        os.close(fd)
