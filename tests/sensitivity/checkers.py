"""Who is to notice a planted bug: the simulator, real machines, or tests that there are anyway.

The simulator sees most: it drives the production's recovery in this process, from a fixed seed. A
real machine sees what has no part in it: drivers, processes, threads, sockets. What neither can see
has its own tests, which are run with the bug.
"""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.sensitivity.plant import Bug, planted

ROOT = Path(__file__).parents[2]
SEED = 1
LONGEST = 90_000  # steps; without a bug so many find nothing


class Simulator(NamedTuple):
    """The simulator, within so many steps from SEED on; `weights` are those of `run`."""

    steps: int = 30_000
    weights: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return "simulator" + "".join(f", {name}={count}" for name, count in self.weights)

    @property
    def soon(self) -> str:
        """How soon it notices."""
        return f"{self.steps:,} steps"

    def look(self, bug: Bug | None = None) -> str:
        """What it finds; nothing if it finds nothing."""
        from tests.sensitivity.judges import judges
        from tests.simulation import Violation, run

        assert self.steps <= LONGEST
        with planted(bug) if bug else contextlib.nullcontext(), judges():
            try:
                run(SEED, self.steps, **dict(self.weights))
            except Violation as violation:
                return str(violation)
        return ""


class Machines(NamedTuple):
    """Real processes: a scenario of machines.py, by name."""

    scenario: str
    soon: str = "one run"

    def __str__(self) -> str:
        return f"machine: {self.scenario.replace('_', ' ')}"

    def look(self, folder: Path) -> str:
        """What its judges say; nothing if they are content."""
        from tests.sensitivity.machines import play

        return play(self.scenario, folder)


class Suite(NamedTuple):
    """Tests of the suite; `why` is why neither of the others can see it, `needs` a program."""

    node: str
    why: str
    needs: str = ""

    def __str__(self) -> str:
        return f"`{self.node.partition('::')[0]}`, because {self.why}"

    @property
    def soon(self) -> str:
        """How soon they notice."""
        return "at once"

    def look(self) -> str:
        """What pytest says; nothing if the tests pass."""
        return run_tests(self.node)


def run_tests(*nodes: str) -> str:
    """Pytest in a process of its own; what it says if a test fails."""
    # Plain assertions: pytest would load `splitvisor`, which brings a plugin, past who plants.
    words = ["-q", "-x", "--timeout", "5", "-p", "no:cacheprovider", "--no-header"]
    words += ["--assert=plain", *nodes]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""
