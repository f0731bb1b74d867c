"""The core's side of a shared folder, for tests: it keeps what is not answered, and follows whoever
serves.
"""

import threading
from collections import deque

import grpc

from protos.io_pb2 import Request


class Core:
    """One thread may submit while another waits for answers and a third one kills."""

    def __init__(self, start, share, writable=8192):
        self._start, self._spec = start, f"directory:path={share}"
        self._writable = writable
        self._waiting = deque()
        self._generation = 0
        self._lock = threading.Lock()
        self.replayed = 0
        self.incarnation = None
        self.next()

    def next(self):
        incarnation = self._start()
        stream = incarnation.attach("folder", self._spec)
        attached = stream.next().attached
        assert (attached.device_id, attached.queues[0].ordered) == (9, True)
        with self._lock:
            self.incarnation, self._stream = incarnation, stream
            self.replayed += len(self._waiting)
            if self._waiting:
                stream.submit(*self._waiting, replay=True)

    def submit(self, data):
        with self._lock:
            self._generation += 1
            request = Request(slot=self._generation % 128, generation=self._generation)
            request.inlined, request.payload = True, data
            request.readable, request.writable = len(data), self._writable
            self._waiting.append(request)
            self._stream.submit(request)

    def answers(self):
        """Of the oldest that wait, one or more."""
        while True:
            try:
                completions = self._stream.completions()
            except grpc.RpcError:
                self.incarnation.kill()
                self.next()
                continue
            assert not completions.HasField("state")
            for completion in completions.completions:
                with self._lock:
                    request = self._waiting.popleft()
                assert completion.generation == request.generation
                yield completion.payload
            return

    def exchange(self, data):
        self.submit(data)
        (answer,) = self.answers()
        return answer
