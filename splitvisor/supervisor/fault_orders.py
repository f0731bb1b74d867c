"""The faults that an operator orders for one service OS: which incarnations get them, and when.

What is armed in an incarnation dies with it. What is for every later one is kept, and armed also in
one that stands by already, or it would miss it.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from protos import operator_pb2 as operator
from protos.core_pb2 import ServiceEndpoint
from protos.faults_pb2 import KILL, Armed, Fault
from splitvisor.errors import UserError
from splitvisor.machine import ServiceSettings
from splitvisor.supervisor import events, faults, steps
from splitvisor.supervisor.process import Process
from splitvisor.supervisor.recovery import Recovery


class FaultOrders:
    """`find` gives the incarnation that serves or, if asked for that, the one that stands by, and
    raises UserError if there is none; `processes` has all that are not reaped, by epoch.
    """

    def __init__(
        self,
        machine: Recovery,
        settings: ServiceSettings,
        find: Callable[[bool], tuple[int, Process]],
        processes: Mapping[int, Process],
        feed: Callable[[steps.Event], None],
        tell: Callable[[events.ServiceEvent], None],
    ) -> None:
        self.lasting = faults.Lasting()
        self._machine = machine
        self._settings = settings
        self._find = find
        self._processes = processes
        self._feed = feed
        self._tell = tell

    async def inject(self, request: operator.FaultRequest) -> operator.FaultReply:
        """Have an incarnation misbehave; UserError if it cannot be made to."""
        service = self._machine.service
        epoch, process = self._find(request.standby)
        reply = operator.FaultReply(pid=process.child.pid, epoch=epoch)
        fault = request.fault
        if faults.is_signal(fault):
            self._feed(steps.Ordered(epoch))
            (process.child.kill if fault.action == KILL else process.child.stop)()
        else:
            faults.check_failpoints(service, self._settings)
            if fault.every_incarnation:  # first: of the fault it may die before it can answer
                self.lasting.add(fault)
                await self._arm_later(epoch, fault)
            try:
                with process.waiting():
                    reply.id = await faults.arm(process.endpoint, fault)
            except UserError:
                if not process.child.exiting():
                    if fault.every_incarnation:
                        await self._take_back(epoch, fault)
                    raise
        what = faults.describe(request)
        self._tell(events.FaultInjected(service, process.child.pid, epoch, what))
        return reply

    async def armed(self) -> list[Armed]:
        """Those that wait in the incarnation that serves, and those that have acted there.

        None if it dies meanwhile.
        """
        faults.check_failpoints(self._machine.service, self._settings)
        process = self._find(False)[1]
        with process.waiting():
            return await faults.armed(process.endpoint)
        return []

    async def clear(self) -> int:
        """Take them away, in every incarnation; how many it were.

        One of every incarnation counts once, wherever it is armed now.
        """
        faults.check_failpoints(self._machine.service, self._settings)
        count = self.lasting.clear()
        for process in list(self._processes.values()):
            with process.waiting():  # its faults die with it
                waiting = await faults.armed(process.endpoint)
                count += sum(not armed.fault.every_incarnation for armed in waiting)
                await faults.disarm(process.endpoint)
        return count

    async def _arm_later(self, epoch: int, fault: Fault) -> None:
        for endpoint in self._later(epoch):
            with suppress(UserError):  # it is dying
                await faults.arm(endpoint, fault)

    async def _take_back(self, epoch: int, fault: Fault) -> None:
        """What an incarnation refused is in no later one either."""
        self.lasting.remove(fault)
        for endpoint in self._later(epoch):
            with suppress(UserError):
                await faults.disarm(endpoint)
                await self.lasting.arm(endpoint)

    def _later(self, epoch: int) -> list[ServiceEndpoint]:
        """Those that are up; who is being started gets all that last by itself."""
        known = [one for one in (self._machine.active, self._machine.standby) if one and one.pid]
        epochs = [one.epoch for one in known if one.epoch > epoch and one.epoch in self._processes]
        return [self._processes[one].endpoint for one in epochs]
