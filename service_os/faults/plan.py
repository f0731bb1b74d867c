"""What is armed, and whose turn it is when something comes by a point. Pure, and thread-safe."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from protos.faults_pb2 import ANYWHERE, Armed, Fault
from service_os.faults.sense import objection


@dataclass(frozen=True, slots=True)
class Due:
    """A fault that is to act now, for the `turn`-th time, counted from 1."""

    fault: Fault
    turn: int


class Plan:
    """The faults of one incarnation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: dict[int, Armed] = {}
        self._last = 0

    def arm(self, fault: Fault) -> int:
        """The number of the fault from now on; ValueError, one line, if it makes no sense.

        One without a point counts as done: who arms it does it.
        """
        if wrong := objection(fault):
            raise ValueError(wrong)
        done = int(fault.point == ANYWHERE)
        with self._lock:
            self._last += 1
            self._armed[self._last] = Armed(id=self._last, fault=fault, passed=done, acted=done)
            return self._last

    def due(self, point: int, guest: str, device: str, touched: Sequence[range]) -> list[Due]:
        """Something comes by: which faults act. `touched`: the sectors of each request in it."""
        with self._lock:
            passed = [a for a in self._armed.values() if _matches(a, point, guest, device, touched)]
            return list(_counted(passed))

    def list(self) -> Sequence[Armed]:
        """All that were armed, also those that are done, as they are now."""
        with self._lock:
            return [_copy(armed) for armed in self._armed.values()]

    def clear(self) -> int:
        """Forget all; how many there were. What they have done stays done."""
        with self._lock:
            count = len(self._armed)
            self._armed.clear()
            return count


def _matches(armed: Armed, point: int, guest: str, device: str, touched: Sequence[range]) -> bool:
    fault = armed.fault
    return (
        fault.point == point
        and fault.guest in ("", guest)
        and fault.device in ("", device)
        and (not fault.only_sector or any(fault.sector in sectors for sectors in touched))
    )


def _counted(passed: Sequence[Armed]) -> Iterator[Due]:
    for armed in passed:
        armed.passed += 1
        times = armed.fault.times
        if armed.passed >= armed.fault.nth and (not times or armed.acted < times):
            armed.acted += 1
            yield Due(armed.fault, armed.acted)


def _copy(armed: Armed) -> Armed:
    copy = Armed()
    copy.CopyFrom(armed)
    return copy
