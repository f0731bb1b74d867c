"""`python -m benchmarks.steady SECONDS`: no false failover beside processes that burn CPUs.

The guest storm under verified load and twice as many spinning processes as the host has CPUs. A
watchdog that took a busy host for a stuck service OS would show here.
"""

import os
import subprocess
import sys
import time

from benchmarks.recovery import FOR_EVER, storm
from benchmarks.report import row, verdict

SECONDS = 1800
LOOK = 10.0
_BURN = [sys.executable, "-c", "while True: pass"]


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    burners = [subprocess.Popen(_BURN) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        with storm(FOR_EVER) as machine:
            began = time.monotonic()
            while (gone := time.monotonic() - began) < seconds:
                time.sleep(min(LOOK, seconds - gone))
                lost = machine.service().deaths
            said = [f"{e.kind} {e.text}" for e in machine.story.events if e.kind == "detected"]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    what = f"failovers in {seconds} s beside {len(burners)} burners"
    row(
        what,
        str(len(said)),
        verdict(not said and not lost, "none") + "".join(f"; {s}" for s in said),
    )


if __name__ == "__main__":
    main()
