"""A guest, a core, a supervisor, service OSes and a disk, and every step that any of them can take.

`pick(n)` decides everything that is open: whose turn it is, what is lost, what is killed. With one
that draws from a seeded generator a run can be repeated to the last step; with one that draws from
Hypothesis it can be shrunk.
"""

import os
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from microhypervisor.devices.port_device import PortDevice
from microhypervisor.devices.virtio_device import VirtioDevice
from microhypervisor.memory.ram import GuestMemory, RegionKind, lay_out
from protos import core_pb2
from service_os.models import uart
from sessions.dialogue import Phase
from splitvisor.supervisor import steps
from splitvisor.supervisor.recovery import State
from tests.simulation import absence, faults, guests, progress
from tests.simulation.blockguest import BlockGuest
from tests.simulation.consoleguest import ConsoleGuest, word
from tests.simulation.disk import Disk, SimulatedBlock, SimulatedConsole, SimulatedEntropy
from tests.simulation.driver import Driver
from tests.simulation.entropyguest import EntropyGuest
from tests.simulation.keeper import Keeper
from tests.simulation.line import Port
from tests.simulation.service import COARSE, FINE, Process
from tests.simulation.uartguest import BASE, UartGuest
from tests.simulation.violation import Report, Violation

SECTORS = 12
HEADS = 6
SLOTS = 512  # of a window: the queues of the console
ROOM = 0x10000  # of guest memory for each device
STEP_NS = 20_000  # what a step takes, until somebody waits for a deadline
RECENT = 60  # steps in a transcript; 0: all
Step = Callable[["World", Callable[[int], int]], str | None]

STEPS: dict[str, tuple[int, Step]] = {
    **guests.STEPS,
    **progress.STEPS,
    **faults.STEPS,
    **absence.STEPS,
}


class World:
    """Everything of one run, from the start of the machine to a power cut."""

    def __init__(self, pick: Callable[[int], int], report: Report) -> None:
        self.report = report
        self.step = 0
        self.transcript: deque[tuple[int, str, str]] = deque(maxlen=RECENT or None)
        self.disk = Disk(SECTORS)
        self.console = bytearray()
        self.wire = bytearray()
        self.entropy = [0]
        self.typed = 0  # words of input so far
        self._pick = pick
        self.keeper = Keeper(pick(8) != 0, self._make)
        self.memory = GuestMemory("sim", lay_out([(RegionKind.RAM, 0, 4 * ROOM)]))
        self.ports: list[Port] = []
        self._excluded = frozenset({"poison"})
        if not pick(8):
            self._excluded, self.keeper.culprits = faults.MURKY, {"g/block0"}
        if pick(8):  # a device that is away is one that is not tested
            self._excluded |= {"withdraw"}
        self._start()

    def take(self, name: str) -> bool:
        """Take that step, if it can be taken."""
        if name in self._excluded:
            return False
        try:
            text = STEPS[name][1](self, self._pick)
        except Exception as error:
            self.transcript.append((self.step, name, "..."))
            if isinstance(error, Violation):
                self._fail(str(error))
            self._fail(f"{type(error).__name__}: {error}", error)
        if text is None:
            return False
        self.keeper.now += STEP_NS
        self.step += 1
        self.transcript.append((self.step, name, text))
        return True

    def lines(self) -> list[str]:
        """The transcript, to be read."""
        return [f"{step:6} {name:10} {text}" for step, name, text in self.transcript]

    def quiesce(self, bound: int = 20_000) -> None:
        """No more faults and no new requests: everything comes to its end within so many steps."""
        recovery = self.keeper.recovery
        for port in self.ports:
            port.away = False
        for _ in range(bound):
            moved = [name for name in progress.QUIET if self.take(name)]
            if moved:
                continue
            if recovery.quarantine.reasons:
                self.keeper.hear(steps.DeviceReleaseAsked(min(recovery.quarantine.reasons)))
            elif not self.take("tick"):
                break
        else:
            self._fail(f"after {bound} rounds without faults it is not at rest: {recovery.state}")
        self._check_quiet()

    def _check_quiet(self) -> None:
        recovery, keeper = self.keeper.recovery, self.keeper
        if recovery.state is not State.SERVING or recovery.outage is not None:
            self._fail(f"nothing more happens, and it is {recovery.state}, not serving")
        if recovery.unserved.devices:
            self._fail(f"nothing more happens, and nobody serves {min(recovery.unserved.devices)}")
        if keeper.calls or keeper.fencing or len(keeper.processes) > 2:
            self._fail("nothing more happens, and something is under way")
        for port in self.ports:
            driver = port.work.driver
            for queue, out in enumerate(driver.out):
                if out and queue not in port.served.parking:
                    self._fail(
                        f"{port.name}: nothing more happens, and {len(out)} requests of "
                        f"queue {queue} are out: {', '.join(map(str, out.values()))}"
                    )
            if port.served.log.owes(port.served.parking):
                self._fail(f"{port.name}: nothing more happens, and requests are in flight")
        try:
            self.block.ledger.check_disk(self.disk.cache, self.block.ledger.certain, "the disk")
            self.terminal.check_output(self._console_end())
            self.serial.check_output()
        except Violation as violation:
            self._fail(str(violation))

    def check_power_cut(self) -> None:
        """Cut the power now, as if: what was flushed is there."""
        spare = Disk(SECTORS)
        spare.medium[:] = self.disk.medium
        spare.unflushed = list(self.disk.unflushed)
        left = spare.cut_power(self._pick)
        try:
            self.block.ledger.check_disk(left, self.block.ledger.durable, "after a power cut")
        except Violation as violation:
            self._fail(str(violation))

    def close(self) -> None:
        """Give back what the host lent."""
        for line in list(self.keeper.core.lines):
            line.close("", asked=True)
        for port in self.ports:
            port.served.close()
        os.close(self.memory.fd)

    def _fail(self, text: str, cause: Exception | None = None) -> NoReturn:
        violation = Violation(text)
        violation.step, violation.transcript = self.step, self.lines()
        raise violation from cause

    def _console_end(self) -> int:
        line = self.ports[1].active
        assert line is not None
        device = line.stream.device
        assert device is not None
        assert device.session is not None
        return int(device.session._model._position)

    # The machine comes up.

    def _make(self, epoch: int) -> Process:
        return Process(epoch, FINE if self._pick(3) else COARSE)

    def _start(self) -> None:
        keeper = self.keeper
        keeper.hear(steps.Begin())
        self._run(lambda: keeper.recovery.state is State.SERVING)
        block = self._add("block", 1, BlockGuest.area_size(), lambda: SimulatedBlock(self.disk))
        block.work = self.block = BlockGuest(block.work, SECTORS)
        console = self._add(
            "console", 2, ConsoleGuest.area_size(), lambda: SimulatedConsole(self.console)
        )
        console.work = self.terminal = ConsoleGuest(console.work, self.console)
        entropy = self._add(
            "entropy", 1, EntropyGuest.area_size(), lambda: SimulatedEntropy(self.entropy)
        )
        entropy.work = EntropyGuest(entropy.work, self.entropy)
        self.ports = [block, console, entropy, self._add_uart()]

    def _add_uart(self) -> Port:
        config = core_pb2.DeviceConfig(name="uart0", service="main", model="uart")
        config.inline_payload = True
        config.ports.base, config.ports.count = BASE, uart.PORTS
        served = PortDevice("g", config, self.memory, lambda _: None)
        self.serial = UartGuest(served, self.wire)
        port = Port(served, self.serial, 0, lambda: SimulatedConsole(self.wire))
        line = self.keeper.core.add(port, self.keeper.processes[0])
        self._run(lambda: line.phase is Phase.ATTACHED)
        return port

    def _add(self, model: str, queues: int, size: int, make: Callable[[], object]) -> Port:
        """A device, attached and brought up; its driver is its `work` for now."""
        config = core_pb2.DeviceConfig(name=f"{model}0", service="main", model=model)
        config.inline_payload = bool(self._pick(2))
        served = VirtioDevice("g", config, self.memory, lambda _: None)
        driver = Driver(served, ROOM * len(self.keeper.core.ports), queues, HEADS, size)
        port = Port(served, driver, 0 if config.inline_payload else SLOTS, make)
        line = self.keeper.core.add(port, self.keeper.processes[0])
        self._run(lambda: line.phase is Phase.ATTACHED)
        driver.start(bool(self._pick(2)))
        return port

    def _run(self, until: Callable[[], bool]) -> None:
        while not until():
            moved = [name for name in progress.QUIET if self.take(name)]
            if not moved and not self.take("tick"):
                self._fail("the machine does not come up")

    def type(self) -> bytes | None:
        """The next word of input, if the console's driver takes it."""
        line = self.ports[1].active
        if line is None or not line.process.running or not line.stream.type(word(self.typed)):
            return None
        self.typed += 1
        return word(self.typed - 1)
