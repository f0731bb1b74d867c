"""Runs the guest `blockbench` on splitvisor and times it from outside."""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPLITVISOR = Path(sys.executable).with_name("splitvisor")
DONE = re.compile(r"blockbench: done ops=(\d+) cycles=(\d+) p50=(\d+) p99=(\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """What the guest saw: operations a second, and seconds of latency."""

    rate: float
    p50: float
    p99: float


def make_disk(folder: str, size: int = 64 << 20) -> Path:
    """A raw image without holes, in the page cache."""
    path = Path(folder) / "disk.img"
    path.write_bytes(os.urandom(1 << 20) * (size >> 20))
    return path


def blockbench(disk: Path, cpu: str = "kvm", inline: bool = False, **arguments: object) -> Result:
    """One run; the guest's cycle counts become seconds by the wall clock between its two lines."""
    words = [f"{name}={value}" for name, value in arguments.items()]
    command = [
        *(str(SPLITVISOR), "run", str(ROOT / "build/guests/blockbench"), "--cpu", cpu),
        *("--disk", f"file:path={disk}", *(["--inline"] if inline else []), "--", *words),
    ]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for line in run.stdout:
            text = line.decode().strip()
            if text == "blockbench: start":
                begun = time.perf_counter()
            elif found := DONE.match(text):
                elapsed = time.perf_counter() - begun
                ops, cycles, p50, p99 = map(int, found.groups())
                second = cycles / elapsed
                return Result(ops / elapsed, p50 / second, p99 / second)
    raise SystemExit(f"blockbench ended with status {run.returncode} and no figures")


def with_disk() -> tempfile.TemporaryDirectory[str]:
    """A folder for the disk of one benchmark run."""
    return tempfile.TemporaryDirectory(prefix="splitvisor-bench-")
