"""What happened, in order, for everyone who watches; the oldest give way to the newest."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from microhypervisor.limits import EVENT_BACKLOG, EVENT_BURST, EVENT_EVERY_S
from protos import core_pb2


class EventLog:
    """The source of all events of this core."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._recent: deque[core_pb2.Event] = deque(maxlen=EVENT_BACKLOG)
        self._count = 0  # of all events so far
        self._closed = False

    def emit(self, event: core_pb2.Event) -> None:
        """Tell every watcher; the time is now."""
        event.monotonic_ns = time.monotonic_ns()
        with self._changed:
            self._recent.append(event)
            self._count += 1
            self._changed.notify_all()

    def watch(
        self, gone: Callable[[], bool], pause_s: float | None = None
    ) -> Iterator[core_pb2.Event | None]:
        """Everything from this call on, until the log is closed or the watcher is `gone`.

        None when it looked and there was nothing, at the latest after `pause_s` seconds.
        """
        return self._follow(self._count, gone, pause_s)

    def nudge(self) -> None:
        """Have every watcher look whether it is gone."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End every watch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _follow(
        self, position: int, gone: Callable[[], bool], pause_s: float | None
    ) -> Iterator[core_pb2.Event | None]:
        while True:
            event = None
            with self._changed:
                if self._count == position and not (self._closed or gone()):
                    self._changed.wait(pause_s)
                if self._count != position:
                    missed = max(0, self._count - len(self._recent) - position)
                    position += missed + 1
                    event = core_pb2.Event()
                    event.CopyFrom(self._recent[position - 1 - self._count])
                    event.missed = missed
                elif self._closed or gone():
                    return
            yield event


class Rationed:
    """A log for events that a guest can cause at will: more than its ration are not told.

    That is EVENT_BURST at once, and one in EVENT_EVERY_S over time. One thread at a time.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._left = float(EVENT_BURST)
        self._counted = time.monotonic()

    def emit(self, event: core_pb2.Event) -> None:
        """Tell every watcher, if there is something left of the ration."""
        now = time.monotonic()
        earned = (now - self._counted) / EVENT_EVERY_S
        self._left, self._counted = min(EVENT_BURST, self._left + earned), now
        if self._left >= 1:
            self._left -= 1
            self._log.emit(event)
