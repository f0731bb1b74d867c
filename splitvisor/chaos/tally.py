"""The sums of a campaign, round by round."""

from collections import Counter
from dataclasses import dataclass, field

from splitvisor.checks.storm import StormLog
from splitvisor.supervisor.outage import Outage


@dataclass(slots=True)
class Tally:
    """What was done, what came of it, and what is wrong; latencies are microseconds."""

    __test__ = False

    rounds: int = 0
    seconds: float = 0.0
    drawn: Counter[str] = field(default_factory=Counter)  # faults by kind, also what was refused
    done: Counter[str] = field(default_factory=Counter)  # that were carried out
    idle: Counter[str] = field(default_factory=Counter)  # that met nothing
    survived: Counter[str] = field(default_factory=Counter)  # that acted and did no harm
    refused: list[str] = field(default_factory=list)  # for their moment, which is no problem
    outages: list[tuple[str, Outage]] = field(default_factory=list)  # by kind of fault
    standbys_lost: int = 0
    swaps: list[float] = field(default_factory=list)  # of drivers; each pause in milliseconds
    zombies: int = 0
    zombies_alive: int = 0  # should be none: whoever is replaced is killed before
    power_cuts: int = 0
    finished: int = 0  # guests that came to their end, and told all that they had counted
    requests: int = 0
    writes: int = 0
    flushes: int = 0
    entropy: int = 0
    lines: int = 0
    gaps: list[float] = field(default_factory=list)  # in which a guest's disk completed nothing
    rates: list[float] = field(default_factory=list)  # requests a second of all guests together
    problems: list[str] = field(default_factory=list)
    failed_seed: int | None = None  # of the first round with a problem
    failed_seconds: float = 0.0
    interrupted: BaseException | None = None  # what a signal raised

    @property
    def recoveries(self) -> int:
        """Outages that were no plan and ended."""
        return sum(not outage.planned for _, outage in self.outages)

    @property
    def upgrades(self) -> int:
        """Pauses for an upgrade."""
        return len(self.outages) - self.recoveries

    def hear(self, logs: list[StormLog]) -> None:
        """Add what the guests of one round said."""
        for log in logs:
            counts = log.result
            self.finished += bool(counts)
            self.requests += counts.get("requests", log.seconds[-1][1] if log.seconds else 0)
            self.writes += counts.get("writes", 0)
            self.flushes += counts.get("flushes", len(log.flushed))
            self.entropy += counts.get("entropy", 0)
            self.lines += counts.get("lines", 0)
            self.gaps += [float(gap.microseconds) for gap in log.gaps]
        self.rates += [sum(rates) for rates in zip(*(log.rates for log in logs), strict=False)]
