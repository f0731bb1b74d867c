"""One machine with a sentinel and everybody who wishes it ill, and what was seen of it."""

import json
import os
import re
import select
import subprocess
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end.conftest import GUESTS, PATIENCE, Splitvisor

ROM = bytes(range(256)) * 32

# Guests by name: their image, arguments, vCPUs, and the modes that they go through.
HOSTILE = {
    "memory": (
        "hostile_memory",
        f"rom_size={len(ROM)}",
        1,
        ("holes", "edges", "high", "rom", "controllers", "ports", "interrupts"),
    ),
    "chains": (
        "hostile_chains",
        "",
        1,
        (
            *("neighbour", "registers", "rom", "straddle", "wrap", "loops", "too-long"),
            *("bad-tables", "odd-tables", "requests"),
        ),
    ),
    "rings": (
        "hostile_rings",
        "",
        1,
        (
            *("places", "sizes", "overlap", "last-page", "indices", "heads", "states"),
            *("ready-toggles", "configuration"),
        ),
    ),
    "race": (
        "hostile_race",
        "rounds=10",
        2,
        (
            *("address", "length", "next", "flags", "index"),
            *("notify-storm", "reset-storm", "ready-storm"),
        ),
    ),
    "rules": (
        "misbehave",
        "",
        1,
        (
            *("unknown-ports", "desc-loop", "desc-outside", "desc-wrap", "avail-jump"),
            *("long-chain", "bad-indirect", "mmio-garbage", "notify-storm", "reset-storm"),
        ),
    ),
    "fault": ("misbehave", "mode=triple-fault", 1, ()),
}


@dataclass
class Evidence:
    """What was seen of a machine, from its start to its end."""

    ready: str = ""  # the sentinel's first line
    checks: list[str] = field(default_factory=list)  # its verdicts, after everything
    before: dict = field(default_factory=dict)  # `ps --json` when the sentinel is ready
    after: dict = field(default_factory=dict)  # and when all others have ended
    anonymous: list[int] = field(default_factory=list)  # bytes of the core's own, then and then
    outside: int | str = ""  # CRC-32 of the halted sentinel's memory, or why there is none
    consoles: dict = field(default_factory=dict)  # of the hostile guests
    errors: str = ""  # everything that the machine said
    logs: str = ""  # and its processes
    status: int | None = None

    def guest(self, name: str) -> dict:
        """What `ps` said in the end of a guest."""
        return next(guest for guest in self.after["guests"] if guest["name"] == name)


def machine_file(folder: Path, cpu: str) -> Path:
    """The sentinel's RAM is where the others look for more than theirs; they wait at a gate."""
    (folder / "rom.bin").write_bytes(ROM)
    (folder / "sentinel.img").write_bytes(bytes(1 << 20))
    (folder / "gate.img").write_bytes(bytes(512))
    text = f"""
        [guests.sentinel]
        image = "{GUESTS / "sentinel"}"
        memory = "32M"
        cpu = "{cpu}"
        com1 = false
        disks = ["file:path=sentinel.img"]
    """
    for name, (image, arguments, vcpus, _) in HOSTILE.items():
        text += f"""
        [guests.{name}]
        image = "{GUESTS / image}"
        arguments = "gate=1 {arguments}"
        memory = "16M"
        vcpus = {vcpus}
        cpu = "{cpu}"
        console = "log:path={name}.log"
        com1 = false
        disks = ["memory:size=1M", "file:path=gate.img,readonly"]
        {'rom = "rom.bin"' if image.startswith("hostile") else ""}
        """
    path = folder / "machine.toml"
    path.write_text(text)
    return path


class Machine:
    """`splitvisor up`, with the sentinel's console at its standard input and output."""

    def __init__(self, splitvisor: Splitvisor, file: Path) -> None:
        self.process = subprocess.Popen(
            splitvisor.command("up", file),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._splitvisor = splitvisor
        self.console = self.errors = ""

    def order(self, letter: str) -> None:
        """Tell the sentinel something."""
        self.process.stdin.write(letter.encode())
        self.process.stdin.flush()

    def until(self, done, patience=PATIENCE) -> None:
        """Read both streams until `done()` says so, for so many seconds."""
        out, err = self.process.stdout, self.process.stderr
        deadline = time.monotonic() + patience
        while not done():
            ready, _, _ = select.select([out, err], [], [], max(deadline - time.monotonic(), 0))
            text = f"console:\n{self.console}\nerrors:\n{self.errors}"
            assert ready, f"nothing more came:\n{text}"
            for stream in ready:
                data = os.read(stream.fileno(), 65536).decode(errors="replace")
                assert data, f"the machine has ended:\n{text}"
                if stream is out:
                    self.console += data
                else:
                    self.errors += data

    def says(self, words: str, times: int = 1) -> str:
        """Wait for a line of the sentinel's with these words, or its complaint; the last line."""
        pattern = re.compile(rf"^(.*({words}|FAIL|exception).*)\n", re.MULTILINE)
        self.until(lambda: len(pattern.findall(self.console)) >= times)
        return pattern.findall(self.console)[-1][0]

    def ps(self) -> dict:
        """The machine, as programs see it."""
        status, output, errors = self._splitvisor("ps", "--json")
        assert status == 0, errors
        (machine,) = json.loads(output)["machines"]
        return machine


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is its own alone: without files, and so without guests' RAM."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) << 10


def memory_of(core: int, guest: str) -> Path:
    """The file that a guest's RAM is, which only root may open."""
    entries = Path(f"/proc/{core}/fd").iterdir()
    return next(e for e in entries if os.readlink(e).startswith(f"/memfd:guest-{guest} "))


def memory_crc(core: int, guest: str, base: int, size: int) -> int | str:
    """CRC-32 of a guest's RAM, read through the core's descriptor of it, as only root may."""
    try:
        with memory_of(core, guest).open("rb") as memory:
            memory.seek(base)
            return zlib.crc32(memory.read(size))
    except PermissionError as error:
        return f"the core's memory cannot be opened here: {error}"


def examine(splitvisor: Splitvisor, folder: Path, cpu: str) -> Evidence:
    """Run the machine to its end."""
    seen = Evidence()
    machine = Machine(splitvisor, machine_file(folder, cpu))
    with machine.process:
        try:
            seen.ready = machine.says("ready")
            seen.before = machine.ps()
            core = seen.before["core_pid"]
            seen.anonymous.append(anonymous_bytes(core))
            machine.order("c")
            seen.checks.append(machine.says("PASS"))
            with (folder / "gate.img").open("r+b") as gate:
                gate.write(b"x")
            machine.until(
                lambda: all(f"guest {name}: ended" in machine.errors for name in HOSTILE),
                4 * PATIENCE,
            )
            machine.order("c")
            seen.checks.append(machine.says("PASS", 2))
            machine.order("h")
            machine.says("halted")
            base, size = re.search(r"base=0x(\w+) size=(\d+)", seen.ready).groups()
            seen.outside = memory_crc(core, "sentinel", int(base, 16), int(size))
            seen.after = machine.ps()
            seen.anonymous.append(anonymous_bytes(core))
            run = splitvisor.run_root / "machine"
            seen.logs = "".join(log.read_text() for log in run.glob("*.log"))
            splitvisor("stop")
            machine.process.stdin.close()
            machine.errors += machine.process.stderr.read().decode()
            seen.status = machine.process.wait(PATIENCE)
        except AssertionError as problem:
            for name in HOSTILE:
                said = (folder / f"{name}.log").read_text(errors="replace")
                problem.add_note(f"{name} said last:\n{said[-300:]}")
            raise
        finally:
            machine.process.kill()
    seen.errors = machine.errors
    seen.consoles = {name: (folder / f"{name}.log").read_text(errors="replace") for name in HOSTILE}
    return seen
