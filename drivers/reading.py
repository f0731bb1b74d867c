"""A thread that waits for a file descriptor to have something, until it is told to stop."""

import os
import select
import threading
from collections.abc import Callable


class Reader:
    """Calls `ready` whenever `fd` can be read, on a thread of its own, until that gives False."""

    def __init__(self, fd: int, name: str, ready: Callable[[], bool]) -> None:
        self._fd = fd
        self._ready = ready
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; on return nothing is called any more. Not from the thread itself."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._fd, select.POLLIN)
        while True:
            events = poll.poll()
            if any(fd == self._stop for fd, _ in events) or not self._ready():
                return
