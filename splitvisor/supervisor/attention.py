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

from protos import core_pb2 as core
from splitvisor.supervisor import steps
from splitvisor.supervisor.child import Child
from splitvisor.supervisor.core_calls import Calls
from splitvisor.supervisor.threads import pressure, threads_of
from splitvisor.supervisor.watchdog import GLANCE_NS, MS, Sight, Watchdog


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
        self._watching = False
        self._watch_until = 0

    def look(self) -> None:
        """Whether it is dead, now and not when its pidfd's turn comes."""
        if self._child.exiting():
            self._lost("")

    def stream_broke(self, why: str) -> None:
        """The core lost a device, or has no use for the process any more."""
        self._lost(why)

    async def stalled(self, device: str, event: core.Event) -> None:
        """A device (guest/device) completes nothing, the core tells: judge whether that is death.

        If not, glance at the threads until about the time that it tells more.
        """
        if why := self._judge(device, event.count, event.monotonic_ns, event.text):
            await self._confirm(device, event, why)
        self._watch_until = time.monotonic_ns() + event.count * MS
        await self._watch()

    def _judge(self, device: str, ms: int, told: int, what: str) -> str:
        service, core_ = threads_of(self._child.pid), threads_of(self._calls.pid())
        sight = Sight(time.monotonic_ns(), service, core_, pressure())
        return self._watchdog.stalled(device, ms, told, sight, what)

    async def _confirm(self, device: str, event: core.Event, why: str) -> None:
        """It is dead if that is so as well when the core has looked once more.

        What was told may be an old story: events come late on a busy host.
        """
        with suppress(grpc.RpcError):  # another event comes
            while (ms := await self._calls.stalled_ms(device)) == event.count:
                await trio.sleep(GLANCE_NS / 1e9)
            if ms > event.count:
                why = self._judge(device, ms, time.monotonic_ns(), event.text)
                if why:
                    self._lost(why)

    async def _watch(self) -> None:
        if self._watching:
            return
        self._watching = True
        while time.monotonic_ns() < self._watch_until:
            await trio.sleep(GLANCE_NS / 1e9)
            if not (threads := threads_of(self._child.pid)):
                return
            self._watchdog.glance(time.monotonic_ns(), threads)
        self._watching = False

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
