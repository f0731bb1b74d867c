"""One machine of a campaign: guests that load it, faults that come, and the end of both."""

import time
from collections.abc import Callable

from splitvisor.chaos.injector import Injector, pause
from splitvisor.chaos.judgement import Remains
from splitvisor.chaos.plan import Disk, Plan
from splitvisor.chaos.schedule import injection
from splitvisor.chaos.witness import Testimony, hear
from splitvisor.machine import ServiceSettings
from splitvisor.testing.description import Guest, com1_log, console_log
from splitvisor.testing.failure import noted
from splitvisor.testing.signals import deferred
from splitvisor.testing.testbed import Testbed, guest_image

LAST_FAULT = 0.5  # seconds before the end of the guests' load
READ_BACK = 120.0  # for the guests to read everything once more
GOES_ON = 30.0  # for a guest to get one more request done, on a host that is overloaded
TOO_LONG = 10.0  # for an outage that is under way when the power fails
FOR_EVER = 1_000_000  # seconds; a load that is to be cut off has no end of its own
TICK = 1.0
EVENTS = "events.txt"  # what happened, beside the consoles and images


class Round:
    """A machine under `seconds` of faults; what is wrong with it is in `problems`."""

    def __init__(self, plan: Plan, bed: Testbed, seed: int, seconds: float, hz: int) -> None:
        self.plan = plan
        self.seed = seed
        self.problems: list[str] = []
        self._bed = bed
        self._seconds = seconds
        self._hz = hz
        self._at_rest = False  # the guests have come to their own end
        settings = ServiceSettings(standby=plan.standby, failpoints=True)
        services = dict.fromkeys(plan.service_names(), settings)
        guests = [self._guest(number) for number in range(plan.guests)]
        self.machine = bed.start_all("chaos", guests, services)
        self.injector = Injector(plan, self.machine)

    def run(self, tick: Callable[["Round"], None]) -> None:
        """Inject faults and come to an end; `tick` is called about once a second."""
        with noted(self.problems):
            for name in self.plan.guest_names():
                self.machine.guest(name).says("storm: start")
            self._inject(tick)
            if self.plan.disk is Disk.POWERCUT:
                self._see_all_go_on()
                self.machine.cut_power()
            else:
                self._come_to_rest(tick)

    def conclude(self) -> Testimony:
        """End the machine; what its events say."""
        with deferred():
            self.machine.end()
        (self._bed.folder / EVENTS).write_text(self.machine.story.text())
        said = self.testimony()
        self.problems += said.false + said.quarantined
        if self._at_rest:
            self.problems += said.endless()
        return said

    def testimony(self) -> Testimony:
        """What the events say until now."""
        return hear(list(self.machine.story.events), self.injector.aimed)

    def remains(self) -> list[Remains]:
        """What is left of the guests."""
        folder, disk = self._bed.folder, self.plan.disk
        cut = self.seed if disk is Disk.POWERCUT else None
        return [
            Remains(
                name,
                console=folder / console_log(name),
                uart=folder / com1_log(name),
                image=folder / f"{name}.img",
                disk=disk,
                ended=self._at_rest,
                cut=cut,
            )
            for name in self.plan.guest_names()
        ]

    def _guest(self, number: int) -> Guest:
        plan, name = self.plan, self.plan.guest_names()[number]
        image = self._bed.folder / f"{name}.img"
        if plan.disk is Disk.MEMORY:
            disk = f"memory:size={plan.size}"
        else:
            disk = f"{plan.disk}:path={image.name}"
            with image.open("wb") as file:
                file.truncate(plan.size)
        seconds = FOR_EVER if plan.disk is Disk.POWERCUT else max(round(self._seconds), 1)
        return Guest(
            name,
            guest_image("storm"),
            f"seed={self.seed + number} depth={plan.depth} seconds={seconds} hz={self._hz} uart=1",
            [disk],
            cpu=plan.cpu,
            service=plan.server(number),
            com1=True,
        )

    def _inject(self, tick: Callable[["Round"], None]) -> None:
        began = told = time.monotonic()
        until = began + self._seconds - LAST_FAULT
        number = 0
        while True:
            fault = injection(self.plan, self.seed, number)
            pause(self.machine, self.plan, fault, began, until)
            if number and time.monotonic() >= until:  # one comes in any case
                return
            self.injector.carry_out(fault)
            number += 1
            if time.monotonic() >= told + TICK:
                told = time.monotonic()
                tick(self)

    def _see_all_go_on(self) -> None:
        """No guest hangs. One request shows it, so that power may fail in mid-recovery as well."""
        for name in self.plan.guest_names():
            self.machine.wait_for_requests(1, f"{name}/disk0", GOES_ON)
        self.problems += self.testimony().endless(time.monotonic() - TOO_LONG)

    def _come_to_rest(self, tick: Callable[["Round"], None]) -> None:
        tick(self)
        for name in self.plan.guest_names():
            self.machine.guest(name).wait(self._seconds + READ_BACK)
        self.machine.wait_for_standby()
        self._at_rest = True
