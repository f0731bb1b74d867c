"""A run of the kit from outside: the results of a driver's checks, one after the other."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from drivers.interface import DriverError
from drivers.rooting import rooted
from drivers.spec import parse
from splitvisor.conformance.contract import OPENS, Outcome, Result

KINDS = ("block", "console", "entropy", "clock", "net", "folder", "virtio")

# Drivers that serve nothing by themselves, and so have no contract of their own.
WITHOUT = {
    ("block", "pivot"): "block.pivot has no contract of its own, for it serves only behind a "
    "complete copy: it is tried with 'migrate:source=(...),target=(...)'"
}


def run(kind: str, spec: str, only: Sequence[str] = ()) -> Iterator[Result]:
    """Results as they come, of all checks or the named ones; of `opens` alone where it fails, and
    of no more behind one in which the driver blocks. DriverError if the driver refuses to be
    opened, or has no contract.

    What the driver stores is lost. Relative paths in the spec start in the current directory.
    """
    spec = rooted(kind, spec, Path(os.path.abspath(".")))
    refuse_without_contract(kind, spec)
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        for result in _work(kind, spec, folder, only):
            if result.check == OPENS and result.outcome is Outcome.SKIPPED:
                raise DriverError(result.reason)
            yield result


def refuse_without_contract(kind: str, spec: str) -> None:
    """DriverError that says what is tried in its place."""
    if reason := WITHOUT.get((kind, parse(spec).driver)):
        raise DriverError(reason)


def _work(kind: str, spec: str, folder: str, only: Sequence[str]) -> Iterator[Result]:
    read, write = os.pipe()
    path = os.pathsep.join(entry or "." for entry in sys.path)
    module = "splitvisor.conformance.worker"
    with (
        open(read, encoding="utf-8") as lines,
        (Path(folder) / "errors").open("w+b") as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", module, kind, spec, folder, str(write), *only],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,  # drivers tell an operator there what each check makes them tell
            pass_fds=(write,),
            env=os.environ | {"PYTHONPATH": path},
        ) as worker,
    ):
        os.close(write)
        try:
            for line in lines:
                found = json.loads(line)
                yield Result(**(found | {"outcome": Outcome(found["outcome"])}))
            if status := worker.wait():
                errors.seek(0)
                said = errors.read().decode(errors="replace")[-2000:]
                raise RuntimeError(
                    f"the process that tries the driver ended with {status}:\n{said}"
                )
        finally:
            with suppress(ProcessLookupError):
                worker.terminate()
