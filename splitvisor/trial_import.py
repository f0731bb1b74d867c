"""Whether a driver of somebody else can be imported at all, tried in a process of its own.

A module may end the process that imports it, or never let go of it. Neither is to happen to a
supervisor that looks at the words for a swap, nor to whoever asks which drivers there are.
"""

import subprocess
import sys

PATIENCE = 10.0  # seconds
_CURE = "have the module only define things"
_IMPORT = """
import os, sys
sys.path[:] = {path!r}
from drivers.installed import load
try:
    load({value!r})
except BaseException:
    pass
print("imported", flush=True)
os._exit(0)  # without a wait for what it has begun
"""


def problem_of_import(value: str) -> str:
    """Why importing what an entry point of this value names ends or blocks a process, in one line.

    "" if it does neither, whatever else comes of it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT.format(path=sys.path, value=value)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {PATIENCE:g} s: {_CURE}"
    if done.stdout.endswith(b"imported\n"):
        return ""
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    return f"importing it ends the process ({how}): {_CURE}"
