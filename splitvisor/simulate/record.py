"""What a simulation leaves behind: accounts of each vCPU, and who ran when. Nanoseconds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Interval:
    """A run on a pCPU, or a wait for one (`pcpu` is None)."""

    vcpu: str
    pcpu: int | None
    start: int
    end: int
    why: str  # it ended: sleeps, gives way, stops, goes on


@dataclass(slots=True)
class VcpuAccount:
    """Of one vCPU from its start to its stop."""

    name: str
    alive: int = 0
    run: int = 0
    wait: int = 0
    switches: int = 0
    longest_wait: int = 0
    wakes: int = 0
    longest_wake: int = 0  # from wake-up to running
    met: int = 0  # deadlines
    missed: int = 0


@dataclass(slots=True)
class PcpuAccount:
    """Of one pCPU."""

    busy: int = 0
    switches: int = 0


@dataclass
class Record:
    """Of one simulation; intervals, wake-ups and misses only from within the window."""

    begin: int
    end: int
    vcpus: dict[str, VcpuAccount]
    pcpus: list[PcpuAccount]
    intervals: list[Interval] = field(default_factory=list)
    wakes: list[tuple[int, str]] = field(default_factory=list)
    misses: list[tuple[int, str]] = field(default_factory=list)

    def keep(self, interval: Interval) -> None:
        """Account for an interval, and remember it if it is within the window."""
        length = interval.end - interval.start
        account = self.vcpus[interval.vcpu]
        if interval.pcpu is None:
            account.wait += length
            account.longest_wait = max(account.longest_wait, length)
        else:
            account.run += length
            self.pcpus[interval.pcpu].busy += length
        if length and interval.start < self.end and interval.end > self.begin:
            self.intervals.append(interval)

    def wake(self, name: str, now: int) -> None:
        """A vCPU has work again."""
        self.vcpus[name].wakes += 1
        if self.begin <= now <= self.end:
            self.wakes.append((now, name))

    def judge(self, name: str, deadline: int, met: bool) -> None:
        """A deadline has come."""
        account = self.vcpus[name]
        account.met += met
        account.missed += not met
        if not met and self.begin <= deadline <= self.end:
            self.misses.append((deadline, name))
