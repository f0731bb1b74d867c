"""The calls of core.proto that recovery makes, each answered when the world has come so far.

They stand in for `ServiceDirectory`, whose waiting is done by threads.
"""

from sessions.dialogue import Phase
from tests.simulation.core import Core
from tests.simulation.line import Line, Port
from tests.simulation.service import Process
from tests.simulation.violation import check


class Call:
    """A call that answers later; `poll` gives the answer once there is one."""

    def __init__(self, core: Core, process: Process) -> None:
        self.core = core
        self.process = process
        self.lines: list[Line] = []
        self.moved = False  # since somebody looked: it has done something, and is not done

    def problems(self) -> tuple[str, ...]:
        """What became of those that failed."""
        return tuple(f"{x.port.key}: {x.problem}" for x in self.lines if x.over)


class PrepareCall(Call):
    """PrepareService."""

    def __init__(self, core: Core, process: Process) -> None:
        super().__init__(core, process)
        for port in core.ports:
            if port.standby is not None:
                port.standby.close("another stands by", asked=True)
            port.standby = Line(core, port, process)
            self.lines.append(port.standby)

    def done(self) -> bool:
        """Whether each device is opened or has failed to."""
        return all(line.phase is not Phase.OPENING for line in self.lines)


class ConnectCall(Call):
    """ConnectService."""

    def __init__(
        self, core: Core, process: Process, one_by_one: bool, withheld: tuple[str, ...]
    ) -> None:
        super().__init__(core, process)
        check(
            process.epoch > core.served_last,
            f"epoch {process.epoch} is connected after {core.served_last}",
        )
        core.served_last = process.epoch
        for earlier in core.begun:
            check(earlier.reaped, f"{process} is connected and {earlier} is not reaped")
        self.guilty = ""
        self._one_by_one = one_by_one
        for port in core.ports:
            self._leave(port, port.key not in withheld)
        self._waiting = [self._take(port) for port in core.ports if port.key not in withheld]
        self.lines = list(self._waiting)
        self._go_on()

    def _leave(self, port: Port, wanted: bool) -> None:
        if port.active is not None and (wanted or not port.failing):
            port.active.close("another incarnation takes over", asked=True)
            port.active, port.failing = None, ""
        warm = port.standby
        if warm is not None and (warm.epoch < self.process.epoch or not wanted):
            warm.close("another incarnation takes over", asked=True)
            port.standby = None

    def _take(self, port: Port) -> Line:
        warm = port.standby
        if warm is not None and warm.epoch == self.process.epoch and not warm.over:
            port.active, port.standby = warm, None
        else:
            port.active = Line(self.core, port, self.process)
        return port.active

    def _go_on(self) -> None:
        if not self._one_by_one:
            for line in self._waiting:
                line.begin()
            self._waiting = []
        elif self._waiting:
            self._waiting[0].begin()

    def done(self) -> bool:
        """Whether each device is attached or has failed to."""
        while self._one_by_one and self._waiting:
            first = self._waiting[0]
            if first.over:
                self.guilty = first.port.key
                for line in self._waiting:
                    line.close("the incarnation was lost", asked=True)
                self._waiting = []
            elif first.replayed:
                self._waiting.pop(0)
                self._go_on()
                self.moved = True
            else:
                return False
        return all(line.over or line.phase is Phase.ATTACHED for line in self.lines)


class ReleaseCall(Call):
    """ReleaseService."""

    def __init__(self, core: Core, process: Process) -> None:
        super().__init__(core, process)
        for port in core.ports:
            line = port.active
            if line is not None and line.epoch == process.epoch and not line.over:
                self.lines.append(line)
                port.served.hold(True)
        self._ending = False

    def done(self) -> bool:
        """Whether all is answered and the incarnation has closed its drivers."""
        if not self._ending:
            if any(not line.over and line.port.served.owes() for line in self.lines):
                return False
            self._ending = self.moved = True
            for line in self.lines:
                line.end()
        return all(line.over for line in self.lines)

    def too_late(self) -> bool:
        """Give it up, if that is still possible."""
        if self._ending:
            return False
        for line in self.lines:
            line.port.served.hold(False)
        return True
