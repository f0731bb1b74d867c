"""Faults as they happen to whoever comes by: death, standstill, delay, leak, exception."""

import os
import signal
import sys
import threading
import time
from typing import NoReturn

from protos import faults_pb2 as faults
from protos.faults_pb2 import Fault

# How long other threads wait for Python's lock while one spins. The interpreter's own 5 ms would
# let them on nearly as usual; an extension written in C that computes does so for longer.
SPIN_SECONDS = 0.1

_leaked: list[bytearray] = []


class UnexpectedError(Exception):
    """What RAISE raises: nobody catches it by name."""


def act(fault: Fault) -> None:
    """Do it on the calling thread. GARBLE and DROP are not for here: they happen to answers."""
    action = fault.action
    if action == faults.KILL:
        signal.raise_signal(signal.SIGKILL)
    elif action == faults.STOP:
        signal.raise_signal(signal.SIGSTOP)  # to this thread, so that it does not get any further
    elif action == faults.HANG:
        _hang()
    elif action == faults.SPIN:
        _spin()
    elif action == faults.SLOW:
        time.sleep(fault.delay_us / 1e6)
    elif action == faults.LEAK:
        _leaked.append(bytearray(b"\xa5") * fault.bytes)
    elif action == faults.EXIT:
        os._exit(1)
    elif action == faults.RAISE:
        raise UnexpectedError(f"failpoint {faults.Point.Name(fault.point)}")


def _hang() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _spin() -> NoReturn:
    sys.setswitchinterval(SPIN_SECONDS)
    while True:
        pass
