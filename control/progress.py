"""Whether service OSes get anything done: looks at every device a hundred times a second.

An incarnation can live and answer nobody: stopped, spinning, deadlocked. What it cannot do then is
complete requests, so that is what is looked at, and nothing that it says of itself. How long is too
long is the device model's to say (Attached.patience_ms), and what follows is the launcher's affair.
A request that stays behind while others are answered is looked at as well, with more patience:
some drivers may overtake, but a completion that is lost is never made up for.

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
OVERTAKEN = 10  # times the patience: for a request while others of its device are answered
MOST_MS = 0xFFFFFFFF  # that DeviceStatus.stalled_ms can hold
BEGIN_PATIENCE_MS = 100  # from Begin to Attached, unless the driver needs more


class Stall:
    """How long one session, in one phase, has had something to do and got no further."""

    def __init__(self) -> None:
        self.ns = 0
        self._reached = -1
        self.told = 0  # halves of the patience

    def look(self, passed_ns: int, busy: bool, reached: int, patience_ms: int) -> bool:
        """Once a while: `passed_ns` since the last look, and how far it is, in any number.

        Whether another half of the patience is over; with a patience of 0 it never is.
        """
        if not busy or reached != self._reached:
            self.ns = self.told = 0
            self._reached = reached if busy else -1
            return False
        self.ns += passed_ns
        halves = self.ns * 2 // (patience_ms * 1_000_000) if patience_ms else 0
        told, self.told = self.told, halves
        return halves > told


class Progress:
    """Of all devices of a directory."""

    def __init__(self, directory: ServiceDirectory, events: EventLog) -> None:
        self._directory = directory
        self._events = events
        self._stalls: dict[tuple[Session, Phase], tuple[Stall, Stall]] = {}

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
        stalls: dict[tuple[Session, Phase], tuple[Stall, Stall]] = {}
        for a in self._directory.attachments:
            stalled_ms, news = 0, None
            active = a.active  # which may be another one, or none, in a moment
            if active and not a.failing:
                key = active, active.phase
                both = stalls[key] = self._stalls.get(key) or (Stall(), Stall())
                stalled_ms, news = self._stalled(a.device, *key, *both, passed_ns)
            stalled_ms = min(stalled_ms, MOST_MS)
            if a.device.status.stalled_ms != stalled_ms:
                a.device.status.stalled_ms = stalled_ms
            if news is not None:  # who hears of it asks for the status
                self._events.emit(news)
        self._stalls = stalls

    def _stalled(
        self,
        device: ServedDevice,
        session: Session,
        phase: Phase,
        whole: Stall,
        single: Stall,
        passed_ns: int,
    ) -> tuple[int, core_pb2.Event | None]:
        """Milliseconds for which `whole`, the device, or a `single` request got no further.

        With an event if half of the patience is over.
        """
        stall, text = whole, ""
        if phase is Phase.BEGUN:
            patience_ms = max(BEGIN_PATIENCE_MS, session.dialogue.patience_ms)
            over = whole.look(passed_ns, not session.held_up, 0, patience_ms)
            text = "it has begun and is not attached"
        else:
            busy, patience_ms = phase is Phase.ATTACHED and device.owes(), device.patience_ms
            over = whole.look(passed_ns, busy, device.log.answered, patience_ms)
            oldest = device.oldest() if busy else None
            if single.look(passed_ns, oldest is not None, oldest or 0, OVERTAKEN * patience_ms):
                over, stall, text = True, single, "a request is not answered, others are"
        stalled_ms = max(whole.ns, single.ns if single.told else 0) // 1_000_000
        if not over:
            return stalled_ms, None
        told = device, session.epoch, text, stall.ns // 1_000_000
        return stalled_ms, about(core_pb2.EVENT_DEVICE_STALLED, *told)
