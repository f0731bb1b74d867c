"""One vCPU in virtual time: what it does, and what of that is done. Times in nanoseconds."""

from collections.abc import Iterator
from enum import Enum

from policies.parameters import VcpuParameters
from splitvisor.simulate.scenario import Vcpu


class Place(Enum):
    """Where a vCPU is."""

    AWAY = "away"  # not started, or stopped
    ASLEEP = "asleep"
    WAITING = "waiting"
    RUNNING = "running"


class Body:
    """The state of one vCPU."""

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu = vcpu
        self.name = vcpu.name
        self.parameters: VcpuParameters = vcpu.parameters
        self.place = Place.AWAY
        self.since = vcpu.start  # in that place
        self.pcpu: int | None = None
        self.works_from = 0  # it runs, and what a switch costs is over by then
        self.kicked = False
        self.turn = 0  # counts runs, so that events meant for an earlier one are known
        self.work_left: int | None = vcpu.run  # None: spins
        self.released = vcpu.start  # when the work at hand came in
        self.woken_at: int | None = None
        self.ran = 0
        self.ran_before = 0  # the period at hand of its reservation
        self.periods = 0  # counts changes of its reservation, as `turn` does runs

    def __str__(self) -> str:
        return self.name

    @property
    def reserved_spinner(self) -> bool:
        """Always ready, so that each period has to yield the whole budget."""
        return self.work_left is None and self.parameters.budget_ns > 0

    @property
    def deadline(self) -> int | None:
        """Of the work at hand: a period of its reservation after it came in, or the next work."""
        span = self.parameters.period_ns or self.vcpu.every
        return None if span is None or self.work_left is None else self.released + span

    def overdue(self, now: int) -> Iterator[int]:
        """The deadlines of all work that has come in and should be done by now, but is not."""
        while (deadline := self.deadline) is not None and deadline <= now:
            yield deadline
            if self.vcpu.every is None:
                return
            self.released += self.vcpu.every

    def run_until(self, now: int) -> None:
        """Its run, which ends or is looked at now, is work done."""
        self.ran += now - self.since
        if self.work_left is not None:
            self.work_left -= max(0, now - max(self.since, self.works_from))

    def next_work(self, now: int) -> int:
        """The work at hand is done: when does the next come in? It may have done so already."""
        self.work_left = self.vcpu.run
        if self.vcpu.every is not None:
            self.released += self.vcpu.every
        else:
            self.released = now + (self.vcpu.sleep or 0)
        return self.released
