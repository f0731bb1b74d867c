"""Carries out what outage policies say, beside the recovery and never in its way."""

import time
from collections.abc import Callable
from contextlib import suppress

import grpc
import trio

from splitvisor.machine import WhenOut
from splitvisor.supervisor.core_calls import Calls
from splitvisor.supervisor.events import OutagePolicyActed
from splitvisor.supervisor.outage_policies import Act, OutagePolicies
from splitvisor.units import format_duration


class Consequences:
    """Of one service OS's outages. `out_since` gives when the one under way began, 0 if none is.

    `mine` tells whether no incarnation was told to begin: only then may the core fail devices.
    """

    def __init__(
        self,
        service: str,
        policies: OutagePolicies,
        calls: Calls,
        report: Callable[[OutagePolicyActed], None],
        out_since: Callable[[], int],
        mine: Callable[[], bool],
    ) -> None:
        self._service = service
        self._policies = policies
        self._calls = calls
        self._report = report
        self._out_since = out_since
        self._mine = mine
        self._changed = trio.Event()

    def changed(self) -> None:
        """Look again."""
        self._changed.set()

    def given(self) -> None:
        """The core is told of an incarnation."""
        self._policies.given()

    async def keep(self) -> None:
        """For as long as the machine runs."""
        while True:
            since, wait = self._out_since(), float("inf")
            if since and self._mine():
                for act in self._policies.due(since, time.monotonic_ns()):
                    await self._act(act)
                due = self._policies.next_due(since)
                if due is not None:
                    wait = max(due - time.monotonic_ns(), 0) / 1e9
            elif not since:
                for guest in self._policies.over():
                    with suppress(grpc.RpcError):
                        await self._calls.resume(guest, self._service)
            with trio.move_on_after(wait):
                await self._changed.wait()
            self._changed = trio.Event()

    async def _act(self, act: Act) -> None:
        length = format_duration(act.after_ns)
        reason = f"nobody has served it for {length}" if act.after_ns else "nobody serves it"
        with suppress(grpc.RpcError):  # its guest has ended, say
            if act.action is WhenOut.PAUSE:
                await self._calls.pause(act.guest, self._service)
                what = f"guest {act.guest} is paused: {reason}"
            else:
                await self._calls.fail(self._service, [act.device], reason)
                what = f"its requests fail: {reason}"
            self._report(OutagePolicyActed(self._service, act.device, what))
