"""The process in which a driver is tried: `python -m splitvisor.conformance.worker`.

It has one thread and forks for each check, so that each begins without any trace of the others. A
check that does not come back is killed with all processes that it has made.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from drivers.raised import one_line
from splitvisor.conformance import checks
from splitvisor.conformance.contract import (
    OPENS,
    BlockedError,
    Check,
    InapplicableError,
    Outcome,
    Result,
    ViolationError,
    checks_of,
)
from splitvisor.conformance.opening import opening
from splitvisor.conformance.subject import Subject
from splitvisor.conformance.victims import described, ending

LIMIT = 90.0  # seconds for a check
LONGEST = 2000  # characters of a reason; a pipe takes several times that at once
Tried = tuple[Outcome, str, bool]  # of a check: how it ended, why, whether the driver blocked


def main(kind: str, spec: str, folder: str, output: str, *only: str) -> None:
    """Run all checks of a kind, or those of these names, up to one in which the driver blocks; a
    line of JSON for each result goes to the descriptor `output`.
    """
    checks.load(kind)
    subject = Subject(kind, spec, Path(folder))
    out = int(output)
    os.set_inheritable(out, False)
    signal.signal(signal.SIGTERM, _interrupted)
    first = attempt(opening(kind), subject)
    passed = first.outcome is Outcome.PASSED
    if not passed or OPENS in only:
        os.write(out, json.dumps(asdict(first)).encode() + b"\n")
    if not passed:
        return
    for check in checks_of(kind):
        if only and check.name not in only:
            continue
        result = attempt(check, subject)
        os.write(out, json.dumps(asdict(result)).encode() + b"\n")
        if result.blocked:
            return


def attempt(check: Check, subject: Subject) -> Result:
    """Run one check, in a process of its own."""
    began = time.monotonic()
    outcome, reason, blocked = _forked(partial(_tried, check, subject))
    taken = time.monotonic() - began
    if blocked:
        reason += "; no other check is tried"
    return Result(check.name, check.demand, outcome, reason, round(taken, 3), blocked)


def _tried(check: Check, subject: Subject) -> Tried:
    try:
        check.run(subject)
    except InapplicableError as error:
        return Outcome.SKIPPED, str(error), False
    except ViolationError as error:
        return Outcome.FAILED, str(error), isinstance(error, BlockedError)
    except BaseException as error:  # also one that wants to end the process
        return Outcome.FAILED, f"{described(error)} at {_where(error)}", False
    return Outcome.PASSED, "", False


def _where(error: BaseException) -> str:
    """The innermost place that an exception came from."""
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    return f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"


def _forked(work: Callable[[], Tried]) -> Tried:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(read)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            outcome, reason, blocked = work()
            line = one_line(reason)[:LONGEST]
            os.write(write, json.dumps((outcome, line, blocked)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with suppress(OSError):  # it was faster, or is gone
        os.setpgid(pid, pid)
    end = os.pidfd_open(pid)
    os.set_blocking(read, False)
    said = b""
    try:
        in_time = bool(select.select([read, end], [], [], LIMIT)[0])
        with suppress(BlockingIOError):
            said = os.read(read, 1 << 16)
    finally:
        os.close(read)
        os.close(end)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if said:
        outcome, reason, blocked = json.loads(said)
        return Outcome(outcome), reason, blocked
    if not in_time:
        return Outcome.FAILED, f"it had not come back after {LIMIT:.0f} s", True
    return Outcome.FAILED, f"its process ended by {ending(status)}", False


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(*sys.argv[1:])
