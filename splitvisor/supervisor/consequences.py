"""Carries out what outage policies say, beside the recovery and never in its way."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import grpc
import trio

from splitvisor.machine import WhenOut
from splitvisor.supervisor.core_calls import Calls
from splitvisor.supervisor.events import OutagePolicyActed
from splitvisor.supervisor.outage_policies import Act, OutagePolicies
from splitvisor.supervisor.recovery import Recovery
from splitvisor.supervisor.service_status import out_since
from splitvisor.supervisor.states import State
from splitvisor.units import format_duration


class Consequences:
    """Of the outages of one service OS and of its devices, as its recovery `machine` has them."""

    def __init__(
        self,
        service: str,
        policies: OutagePolicies,
        calls: Calls,
        report: Callable[[OutagePolicyActed], None],
        machine: Recovery,
    ) -> None:
        self._service = service
        self._policies = policies
        self._calls = calls
        self._report = report
        self._machine = machine
        self._told: dict[str, int] = {}  # of each device, the absence of which it was told
        self._changed = trio.Event()

    def changed(self) -> None:
        """Look again."""
        self._changed.set()

    def given(self) -> None:
        """The core is told of an incarnation."""
        self._policies.given()

    async def keep(self) -> None:
        """For as long as the machine runs."""
        since, policies = partial(out_since, self._machine), self._policies
        while True:
            wait = float("inf")
            for guest in policies.over(since):
                with suppress(grpc.RpcError):
                    await self._calls.resume(guest, self._service)
            if self._machine.state is not State.PROMOTING:  # or devices are the next one's already
                for act in policies.due(since, time.monotonic_ns()):
                    await self._act(act)
                due = policies.next_due(since)
                if due is not None:
                    wait = max(due - time.monotonic_ns(), 0) / 1e9
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
                if not await self._calls.fail_unserved(self._service, act.device, reason):
                    return  # it is served by now
                what = f"its requests fail: {reason}"
            # Each incarnation that fails to take over has it done again.
            since = out_since(self._machine, act.device)
            if self._told.get(act.device) != since:
                self._told[act.device] = since
                self._report(OutagePolicyActed(self._service, act.device, what))
