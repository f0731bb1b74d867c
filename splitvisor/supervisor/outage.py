"""One outage of a service OS with its moments, as operator.proto has them.

A moment is nanoseconds of CLOCK_MONOTONIC and 0 while it is not reached. The core's events carry
the same clock, so its moments and the supervisor's can be set side by side.
"""

from dataclasses import dataclass, fields, replace

from protos import operator_pb2 as operator

DIED = "died"  # the cause until it is known how
# Each step with the moment at which it ends; it begins where the one before ended.
STEPS = {
    "detect": "detected",
    "fence": "fenced",
    "retry": "retried",
    "promote": "promoted",
    "attach": "attached",
    "replay": "replayed",
}


@dataclass(slots=True)
class Outage:
    """An outage that began at `detected`; with `planned` the pause of an upgrade."""

    cause: str  # one line
    detected: int
    killed: int = 0  # an operator's order; 0 if it died by itself
    fenced: int = 0  # the whole process group of the one that was lost is reaped
    promoted: int = 0  # the next incarnation was told to begin
    attached: int = 0  # all devices
    replayed: int = 0  # all that was in flight is done, or may wait for the world outside
    first_completion: int = 0
    requests: int = 0  # that were replayed
    warm: bool = False  # by a standby
    planned: bool = False
    retried: int = 0  # the last that failed to take over is reaped, the wait after it over

    @property
    def total_ms(self) -> float:
        """From the order to kill, or else from when it was noticed, to the end of its last step."""
        return sum(self.steps_ms().values())

    def steps_ms(self) -> dict[str, float]:
        """How long each step took, in order; detecting took time only if we know of the kill.

        Steps that were not reached are left out.
        """
        steps, before = {}, self.killed or self.detected
        for step, name in STEPS.items():
            moment = getattr(self, name)
            if moment:
                steps[step] = (moment - before) / 1e6
                before = moment
        return steps

    def message(self) -> operator.Outage:
        """As the operator sees it."""
        return operator.Outage(**{field.name: getattr(self, field.name) for field in fields(self)})


def of_message(message: operator.Outage) -> Outage:
    """What `Outage.message` was made of."""
    return Outage(**{field.name: getattr(message, field.name) for field in fields(Outage)})


class History:
    """The deaths and outages of one service OS. Moments are given as `now`."""

    def __init__(self) -> None:
        self.outage: Outage | None = None  # under way
        self.last: Outage | None = None
        self.worst_ms = 0.0
        self.deaths = self.recoveries = self.upgrades = 0
        self.last_death = ""

    def died(self, how: str) -> None:
        """An incarnation that served or was to."""
        self.deaths += 1
        self.last_death = how

    def begin(self, cause: str, now: int, killed: int = 0, planned: bool = False) -> None:
        """An outage."""
        self.outage = Outage(cause, now, killed=killed, planned=planned)

    def unplanned(self) -> None:
        """What was to be a pause has become an outage."""
        if self.outage is not None:
            self.outage.planned = False

    def drop(self) -> None:
        """The pause does not take place."""
        self.outage = None

    def fenced(self, now: int, how: str) -> None:
        """The incarnation that was lost is reaped, or one that failed to take its place."""
        if self.outage is None:
            return
        if self.outage.fenced:
            self.outage.retried = now
            self._in_vain(self.outage)
            return
        self.outage.fenced = now
        if self.outage.cause == DIED:
            self.outage.cause = f"died by {how}"

    def waited(self, now: int) -> None:
        """The back-off is over."""
        if self.outage is not None:
            self.outage.retried = now

    def promoted(self, now: int, warm: bool) -> None:
        """The core is told of the next one."""
        if self.outage is not None:
            self._in_vain(self.outage)
            self.outage.promoted, self.outage.warm = now, warm

    def attached(self, now: int) -> None:
        """The core has attached all devices."""
        if self.outage is not None:
            self.outage.attached = now

    def replayed(self, requests: int) -> None:
        """Requests of a device were done again."""
        if self.outage is not None:
            self.outage.requests += requests

    def resumed(self, now: int) -> None:
        """A device completed something; the first time counts, even after all is replayed."""
        outage = self.outage or self.last
        if outage is not None and outage.promoted and not outage.first_completion:
            outage.first_completion = now

    def end(self, attached: int, replayed: int) -> Outage | None:
        """All is attached and replayed since then, as the core says; the outage, if there was one.

        A moment of 0 is not known. The core knows when it attached better than who heard of it.
        """
        outage, self.outage = self.outage, None
        if outage is None:
            return None
        outage.attached = attached or outage.attached
        outage.replayed = max(replayed, outage.attached)
        if outage.planned:
            self.upgrades += 1
        else:
            self.recoveries += 1
            self.worst_ms = max(self.worst_ms, outage.total_ms)
        self.last = outage
        return replace(outage)

    def _in_vain(self, outage: Outage) -> None:
        """What an earlier incarnation did in this outage."""
        outage.promoted = outage.attached = outage.first_completion = outage.requests = 0
