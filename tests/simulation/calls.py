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
        core.served_last = core.serving = process.epoch
        for earlier in core.begun:
            check(earlier.reaped, f"{process} is connected and {earlier} is not reaped")
        self.guilty = ""
        self._one_by_one = one_by_one
        for port in core.ports:
            _give_up(port)
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
            if first.over and not first.refused:
                self.guilty = first.port.key
                for line in self._waiting:
                    line.close("the incarnation was lost", asked=True)
                self._waiting = []
            elif first.over or first.replayed:
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
            self.core.serving = 0
            for port in self.core.ports:
                _give_up(port)
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


class RetryCall(Call):
    """RetryDevices, of an incarnation that may have been succeeded when the core hears of it."""

    def __init__(self, core: Core, process: Process, devices: tuple[str, ...]) -> None:
        super().__init__(core, process)
        self._opening: list[Line] = []
        for port in core.ports:
            if port.key in devices and process.epoch == core.serving and not _served(port):
                check(port.tried is None, f"{port.key} is tried by two at once")
                port.tried = Line(core, port, process)
                self._opening.append(port.tried)
        self.lines = list(self._opening)

    def done(self) -> bool:
        """Whether each device is attached or has failed to; those that are open begin."""
        if any(line.phase is Phase.OPENING for line in self._opening):
            return False
        for line in self._opening:
            port = line.port
            if port.tried is line:
                port.tried = None
                if not line.over:
                    self._take_on(port, line)
        self._opening = []
        return all(line.over or line.phase is Phase.ATTACHED for line in self.lines)

    def served(self) -> tuple[str, ...]:
        """Those that it serves now."""
        return tuple(line.port.key for line in self.lines if not line.over)

    def _take_on(self, port: Port, line: Line) -> None:
        check(not _served(port), f"{port.key} is taken from the one that serves it")
        if port.active is not None:
            port.active.close("it is served again", asked=True)
        port.active, port.failing = line, ""
        line.begin()
        self.moved = True


def _served(port: Port) -> bool:
    return port.active is not None and port.active.phase is Phase.ATTACHED and not port.failing


def _give_up(port: Port) -> None:
    if port.tried is not None:
        port.tried.close("something else is done with it", asked=True)
        port.tried = None
