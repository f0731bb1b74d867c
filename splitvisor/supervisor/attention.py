"""Noticing that an incarnation of a service OS is dead, or as good as dead.

Four signs: its pidfd becomes readable; it is stopped; a stream to it breaks; or the core tells that
a device completes nothing, which the watchdog judges. The last three are told of a process that
lives, unless it turns out to be dying already.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import grpc
import trio

from splitvisor.supervisor import steps
from splitvisor.supervisor.child import Child
from splitvisor.supervisor.core_calls import Calls
from splitvisor.supervisor.threads import pressure, threads_of
from splitvisor.supervisor.watchdog import MS, Sight, Watchdog

GLANCE_NS = 5 * MS


class Attention:
    """To one incarnation; `feed` hears steps.Lost."""

    def __init__(
        self, epoch: int, child: Child, calls: Calls, feed: Callable[[steps.Event], None]
    ) -> None:
        self._epoch = epoch
        self._child = child
        self._calls = calls
        self._feed = feed
        self._watchdog = Watchdog()

    def look(self) -> None:
        """Whether it is dead, now and not when its pidfd's turn comes."""
        if self._child.exiting():
            self._lost("")

    def stream_broke(self, why: str) -> None:
        """The core lost a device, or has no use for the process any more."""
        self._lost(why)

    def stalled(self, device: str, ms: int) -> str:
        """A device (guest/device) completes nothing, the core tells; why that is death, or ""."""
        service, core = threads_of(self._child.pid), threads_of(self._calls.pid())
        sight = Sight(time.monotonic_ns(), service, core, pressure())
        return self._watchdog.stalled(device, ms, sight)

    async def follow_up(self, device: str, ms: int, why: str) -> None:
        """What the core told of is judged by now: `why` it is dead, or nothing yet.

        Without, look whether somebody is at the disk, until about the time that it tells more. Take
        it for dead only if the device still completes nothing: what was told may be an old story.
        """
        if not why:
            for _ in range(ms * MS // GLANCE_NS):
                await trio.sleep(GLANCE_NS / 1e9)
                if not (threads := threads_of(self._child.pid)):
                    return
                self._watchdog.glance(device, threads)
            return
        with suppress(grpc.RpcError):  # another event comes
            if await self._calls.stalled_ms(device) >= ms:
                self._lost(why)

    async def await_death(self) -> None:
        """Until it is dead, however it is told first."""
        await self._child.died()
        self._lost("")

    async def await_stop(self) -> None:
        """Until it is stopped, or dead, which is another one's to tell."""
        await self._child.stopped()
        if not self._child.exiting():
            self._lost("stopped")

    def _lost(self, why: str) -> None:
        dead = self._child.status is not None or self._child.exiting()
        self._feed(steps.Lost(self._epoch, "" if dead else why, dead))
