"""What fio gets out of the same file without a machine in between: one thread, `psync`, buffered.

The driver does the same calls on the same pages, so the difference is what the machine costs.
"""

import json
import shutil
import subprocess
from pathlib import Path

SECONDS = 3


def rate(path: Path, mode: str, size: int) -> float | None:
    """Requests of `size` bytes a second, `mode` as fio has it (randread); None without fio."""
    if shutil.which("fio") is None:
        return None
    done = subprocess.run(
        [
            *("fio", "--name=same", f"--filename={path}", f"--rw={mode}", f"--bs={size}"),
            *("--ioengine=psync", "--direct=0", "--invalidate=0", "--output-format=json"),
            *("--time_based", f"--runtime={SECONDS}", "--allow_file_create=0"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    job = json.loads(done.stdout)["jobs"][0]
    return float(job["read" if "read" in mode else "write"]["iops"])
