"""`python -m tests.simulation --seed S --steps N`: a long run, and what was found."""

import argparse
import sys
import traceback

from tests.simulation import world
from tests.simulation.run import run
from tests.simulation.violation import Violation


def main() -> int:
    """The exit status: 1 for a broken promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--transcript", type=int, default=world.RECENT, help="steps to be shown")
    wanted = parser.parse_args()
    world.RECENT = wanted.transcript
    try:
        report = run(wanted.seed, wanted.steps)
    except Violation as violation:
        if violation.__cause__ is not None:
            traceback.print_exception(violation.__cause__)
        print("\n".join(violation.transcript))
        print(f"{type(violation).__name__}: {violation}")
        print(f"in the world of seed {violation.seed}, at step {violation.step}; to see it again:")
        print(f"  python -m tests.simulation --seed {violation.seed} --steps {violation.steps}")
        return 1
    pace = report.steps / report.seconds
    last = wanted.seed + report.worlds - 1
    print(
        f"{report.steps:,} steps in {report.worlds} worlds (seeds {wanted.seed} to {last}), "
        f"{pace:,.0f} steps a second of CPU time, nothing found"
    )
    print(", ".join(f"{count:,} {name}" for name, count in sorted(report.counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
