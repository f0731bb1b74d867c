"""What is told of a service OS, each in its turn.

It comes after what is to be done, for listeners take their time: from a death to the core's hearing
of the next incarnation nothing is read, written or reported.
"""

import time
from collections import deque
from collections.abc import Callable

import trio

from splitvisor.supervisor import urgency
from splitvisor.supervisor.child import Child
from splitvisor.supervisor.events import (
    ServiceEvent,
    ServicePromoted,
    ServiceSaid,
    ServiceStandsBy,
)


class Telling:
    """`report` gets each event with its time, in nanoseconds."""

    def __init__(self, service: str, report: Callable[[ServiceEvent, int], None]) -> None:
        self._service = service
        self._report = report
        self._untold: deque[tuple[ServiceEvent | Child, int]] = deque()
        self._woken = trio.Event()

    def tell(self, event: ServiceEvent | Child) -> None:
        """An event, or what a dead child left on its standard error."""
        self._untold.append((event, time.monotonic_ns()))
        self._woken.set()

    def take_back(self) -> None:
        """The last of them is not told, if that is what a child left."""
        if self._untold and isinstance(self._untold[-1][0], Child):
            self._untold.pop()

    async def keep(self) -> None:
        """For as long as the machine runs."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            await trio.lowlevel.checkpoint()
            self.catch_up()

    def catch_up(self) -> None:
        """Report all there is."""
        while self._untold:
            event, now = self._untold.popleft()
            if isinstance(event, Child):
                for line in event.lines():
                    self._report(ServiceSaid(self._service, line), now)
                event.log.unlink(missing_ok=True)  # told once; there may be thousands
                continue
            if isinstance(event, ServiceStandsBy | ServicePromoted):
                urgency.prompt(event.pid)
            self._report(event, now)
