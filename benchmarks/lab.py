"""A machine of guests for a measurement: started in the background, its logs read, stopped."""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from protos import core_pb2_grpc
from protos import operator_pb2 as operator
from splitvisor.cli import client
from splitvisor.supervisor import rpc
from splitvisor.supervisor.run_directory import running

ROOT = Path(__file__).parents[1]
SPLITVISOR = Path(sys.executable).with_name("splitvisor")
PATIENCE = 180.0  # seconds for what a measurement waits for
WORK = re.compile(rb"spin: work=(\d+) cycles=(\d+)\r?\n")


@dataclass(frozen=True, slots=True)
class Spinner:
    """A guest that counts its work; `schedule` and `more` are TOML of its table."""

    name: str
    schedule: str = ""
    arguments: str = "every=100K"
    image: str = "spin"
    more: str = ""

    def toml(self, folder: Path) -> str:
        """Its table of a machine file."""
        return (
            f"[guests.{self.name}]\n"
            f'image = "{ROOT / "build/guests" / self.image}"\n'
            f'arguments = "{self.arguments}"\nmemory = "8M"\n'
            f"com1 = false\nentropy = false\nconsole = 'log:path={folder / self.name}.log'\n"
            f"schedule = {{ {self.schedule} }}\n{self.more}\n"
        )


class Lab:
    """The machine while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = running(folder / "run")[0]

    def log(self, name: str) -> bytes:
        """What a guest has printed so far."""
        path = self.folder / f"{name}.log"
        return path.read_bytes() if path.exists() else b""

    def status(self) -> operator.MachineStatus:
        """Everything there is to know."""
        return client.status(self.machine)

    @contextmanager
    def core(self) -> Iterator[core_pb2_grpc.CoreStub]:
        """The core's own service."""
        with rpc.channel(self.folder / "run" / self.machine.name / "core.sock") as channel:
            yield core_pb2_grpc.CoreStub(channel)

    def wait(self, what: Callable[[], bool]) -> None:
        """Until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            if time.monotonic() > deadline:
                raise SystemExit("a measurement did not get what it waited for")
            time.sleep(0.1)

    def work(self, name: str) -> list[tuple[int, int]]:
        """Counts of work and the cycles at which they held."""
        return [(int(count), int(at)) for count, at in WORK.findall(self.log(name))]


@contextmanager
def lab(guests: list[Spinner], scheduler: str, cpus: str = "[0]") -> Iterator[Lab]:
    """Run these guests on pCPUs bound to the host's `cpus`."""
    with tempfile.TemporaryDirectory(prefix="splitvisor-bench-") as name:
        folder = Path(name)
        text = f"[scheduler]\npcpus = {cpus}\n{scheduler}\n"
        (folder / "lab.toml").write_text(text + "".join(g.toml(folder) for g in guests))
        command = [str(SPLITVISOR), "--run-root", str(folder / "run")]
        subprocess.run(
            [*command, "up", "-d", str(folder / "lab.toml")], check=True, stdout=subprocess.DEVNULL
        )
        try:
            yield Lab(folder)
        finally:
            subprocess.run([*command, "stop"], check=True)


def gains(series: dict[str, list[tuple[int, int]]], seconds: float, hertz: float) -> dict[str, int]:
    """The work of each over the same `seconds` of time-stamp counter, interpolated at both ends."""
    start = max(points[0][1] for points in series.values())
    end = start + int(seconds * hertz)
    return {name: _at(points, end) - _at(points, start) for name, points in series.items()}


def _at(points: list[tuple[int, int]], when: int) -> int:
    for (work, at), (more, then) in pairwise(points):
        if at <= when <= then:
            return work + (more - work) * (when - at) // (then - at)
    raise SystemExit("a guest told too little for the interval that is measured")


def last(series: dict[str, list[tuple[int, int]]]) -> int:
    """The last cycle that all of them tell of, from the first that all do; 0 before that."""
    if not all(series.values()):
        return 0
    begun = max(points[0][1] for points in series.values())
    return max(0, min(points[-1][1] for points in series.values()) - begun)


def quantile(values: list[float], percent: int) -> float:
    """The percentile of some values."""
    return statistics.quantiles(values, n=100)[percent - 1]
