"""Events for those who follow a machine, from the supervisor and the core in one stream.

A follower is a gRPC thread that waits here. What the core tells is put by a thread that may wait
until there is room (the core itself counts what is lost meanwhile); the supervisor never waits, and
tells little.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from protos import operator_pb2 as operator

ROOM = 1024  # messages


class Follower:
    """A queue with one reader."""

    def __init__(self) -> None:
        self._messages: deque[operator.MachineEvent] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: operator.MachineEvent, *, wait: bool) -> bool:
        """Queue it, waiting for room if need be; whether anybody will ever read it."""
        with self._changed:
            while wait and len(self._messages) >= ROOM and not self._closed:
                self._changed.wait()
            self._messages.append(message)
            self._changed.notify_all()
            return not self._closed

    def close(self) -> None:
        """There is no more to come, or nobody reads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[operator.MachineEvent]:
        """What is put, until it is closed and all is read. Blocks."""
        while True:
            with self._changed:
                while not self._messages and not self._closed:
                    self._changed.wait()
                if not self._messages:
                    return
                message = self._messages.popleft()
                self._changed.notify_all()
            yield message


class Followers:
    """All that follow."""

    def __init__(self) -> None:
        self._all: set[Follower] = set()
        self._lock = threading.Lock()

    @contextmanager
    def follow(self) -> Iterator[Follower]:
        """One more, for as long as the body runs."""
        follower = Follower()
        with self._lock:
            self._all.add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._all.discard(follower)
            follower.close()

    def publish(self, event: operator.ServiceEvent) -> None:
        """Tell all of them."""
        with self._lock:
            followers = list(self._all)
        for follower in followers:
            follower.put(operator.MachineEvent(service=event), wait=False)
