"""A driver that a command opens itself, outside of any machine: what it uses is locked as if it
stood behind a device, so that no machine has it meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitvisor.machine import Device, Guest, Machine, Model
from splitvisor.supervisor.locks import Locks

_MODELS = {model.driver_kind: model for model in reversed(Model)}


@contextmanager
def locked(kind: str, spec: str) -> Iterator[None]:
    """UserError if somebody uses it; DriverError if the spec is wrong."""
    device = Device("device", _MODELS[kind], spec)
    guest = Guest("command", Path("/nonexistent"), devices=(device,))
    with Locks() as locks:
        locks.take(Machine("command", (guest,)))
        yield
