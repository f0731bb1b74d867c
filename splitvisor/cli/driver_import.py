"""Whether a driver of somebody else can be imported at all, tried in a process of its own.

A module may end the process that imports it, or never let go of it. Whoever only asks which drivers
there are is to hear of the others nevertheless.
"""

import subprocess
import sys

PATIENCE = 10.0  # seconds
_IMPORT = """
import sys
from contextlib import suppress
sys.path[:] = {path!r}
from drivers.interface import DriverError
from drivers.registry import find
with suppress(DriverError):
    find({kind!r}, {name!r})
print("imported")
"""


def problem_of_import(kind: str, name: str) -> str:
    """Why it ends or blocks whoever imports it, in one line; "" if it does neither."""
    code = _IMPORT.format(path=sys.path, kind=kind, name=name)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {PATIENCE:g} s: have the module only define things"
    if done.stdout.endswith(b"imported\n"):
        return ""
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    return f"importing it ends the process ({how}): have the module only define things"
