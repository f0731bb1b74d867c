"""What happened, in order, for everyone who watches."""

import threading
import time
from collections import deque
from collections.abc import Iterator

from microhypervisor.limits import EVENT_BACKLOG
from protos import core_pb2


class Watcher:
    """One reader's backlog; the oldest events give way when it does not keep up."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._backlog: deque[core_pb2.Event] = deque()
        self._missed = 0
        self._closed = False

    def put(self, event: core_pb2.Event) -> None:
        """Under the condition's lock."""
        if len(self._backlog) == EVENT_BACKLOG:
            self._backlog.popleft()
            self._missed += 1
        self._backlog.append(event)

    def close(self) -> None:
        """End the iteration. Any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[core_pb2.Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._backlog or self._closed)
                if not self._backlog:
                    return
                event = core_pb2.Event()
                event.CopyFrom(self._backlog.popleft())
                event.missed, self._missed = self._missed, 0
            yield event


class EventLog:
    """The source of all events of this core."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watchers: list[Watcher] = []
        self._closed = False

    def emit(self, event: core_pb2.Event) -> None:
        """Tell every watcher; the time is now."""
        event.monotonic_ns = time.monotonic_ns()
        with self._changed:
            for watcher in self._watchers:
                watcher.put(event)
            self._changed.notify_all()

    def watch(self) -> Watcher:
        """Everything from now on."""
        watcher = Watcher(self._changed)
        with self._changed:
            self._watchers.append(watcher)
        if self._closed:
            watcher.close()
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Its reader is gone."""
        with self._changed:
            self._watchers.remove(watcher)

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        for watcher in list(self._watchers):
            watcher.close()
