"""One outage of a service OS with its moments, as operator.proto has them.

A moment is nanoseconds of CLOCK_MONOTONIC and 0 while it is not reached. The core's events carry
the same clock, so its moments and the supervisor's can be set side by side.
"""

from dataclasses import dataclass, fields

from protos import operator_pb2 as operator

# Each step with the moment at which it ends; it begins where the one before ended.
_STEPS = {
    "detect": "detected",
    "fence": "fenced",
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
    fenced: int = 0  # the whole process group is reaped
    promoted: int = 0  # the next incarnation was told to begin
    attached: int = 0  # all devices
    replayed: int = 0  # all that was in flight is done
    first_completion: int = 0
    requests: int = 0  # that were replayed
    warm: bool = False  # by a standby
    planned: bool = False

    @property
    def total_ms(self) -> float:
        """From its beginning noticed to all devices attached again; 0 before that."""
        return (self.attached - self.detected) / 1e6 if self.attached else 0.0

    def steps_ms(self) -> dict[str, float]:
        """How long each step took, in order; detecting took time only if we know of the kill.

        Steps that were not reached are left out.
        """
        steps, before = {}, self.killed or self.detected
        for step, name in _STEPS.items():
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
