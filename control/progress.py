"""Whether service OSes get anything done: looks at every device a hundred times a second.

An incarnation can live and answer nobody: stopped, spinning, deadlocked. What it cannot do then is
complete requests, so that is what is looked at, and nothing that it says of itself. How long is too
long is the device model's to say (Attached.patience_ms), and what follows is the launcher's affair.

Time counts only as far as this thread had it: after a gap between two looks, in which the host ran
somebody else or nobody, the service OS may not have run either.
"""

import threading
import time

from microhypervisor.devices.served import ServedDevice
from microhypervisor.events import EventLog
from protos import core_pb2
from sessions.dialogue import Phase
from sessions.directory import ServiceDirectory
from sessions.session import Session
from sessions.telling import about

PERIOD_NS = 10_000_000  # between looks
GAP_NS = 2 * PERIOD_NS  # what counts at most of the time between two
BEGIN_PATIENCE_MS = 100  # from Begin to Attached: nothing is opened any more


class Stall:
    """How long one session, in one phase, has had something to do and done nothing."""

    def __init__(self) -> None:
        self.ns = 0
        self._answered = -1
        self._told = 0  # halves of the patience

    def look(self, passed_ns: int, busy: bool, answered: int, patience_ms: int) -> bool:
        """Once a while: `passed_ns` since the last look, so many requests `answered` so far.

        Whether another half of the patience is over; with a patience of 0 it never is.
        """
        if not busy or answered != self._answered:
            self.ns = self._told = 0
            self._answered = answered if busy else -1
            return False
        self.ns += passed_ns
        halves = self.ns * 2 // (patience_ms * 1_000_000) if patience_ms else 0
        told, self._told = self._told, halves
        return halves > told


class Progress:
    """Of all devices of a directory."""

    def __init__(self, directory: ServiceDirectory, events: EventLog) -> None:
        self._directory = directory
        self._events = events
        self._stalls: dict[tuple[Session, Phase], Stall] = {}

    def start(self) -> None:
        """Look from now on, as long as the process lives."""
        threading.Thread(target=self._watch, name="progress", daemon=True).start()

    def _watch(self) -> None:
        last = time.monotonic_ns()
        while True:
            time.sleep(PERIOD_NS / 1e9)
            now = time.monotonic_ns()
            self.look(min(now - last, GAP_NS))
            last = now

    def look(self, passed_ns: int) -> None:
        """At each device, `passed_ns` after the last time."""
        stalls: dict[tuple[Session, Phase], Stall] = {}
        for a in self._directory.attachments:
            stalled_ms = 0
            if a.active and not a.failing:
                key = a.active, a.active.phase
                stall = stalls[key] = self._stalls.get(key) or Stall()
                stalled_ms = self._stalled(a.device, *key, stall, passed_ns)
            if a.device.status.stalled_ms != stalled_ms:
                a.device.status.stalled_ms = stalled_ms
        self._stalls = stalls

    def _stalled(
        self, device: ServedDevice, session: Session, phase: Phase, stall: Stall, passed_ns: int
    ) -> int:
        if phase is Phase.BEGUN:
            over = stall.look(passed_ns, True, 0, BEGIN_PATIENCE_MS)
            text = "it has begun and is not attached"
        else:
            busy = phase is Phase.ATTACHED and not device.held and device.owes()
            over = stall.look(passed_ns, busy, device.log.answered, device.patience_ms)
            text = ""
        stalled_ms = stall.ns // 1_000_000
        if over:
            kind = core_pb2.EVENT_DEVICE_STALLED
            self._events.emit(about(kind, device, session.epoch, text, stalled_ms))
        return stalled_ms
