"""One outage of a service OS, or one pause for an upgrade, with its steps in milliseconds."""

from dataclasses import dataclass
from itertools import pairwise

from protos import operator_pb2 as operator

# A step ends at the moment that it has its name from.
STEPS = ("detect", "fence", "promote", "attach", "replay")


@dataclass(frozen=True, slots=True)
class Outage:
    """`steps` has what is known: `detect` only if it is known when the kill was ordered."""

    cause: str
    warm: bool  # a standby took over
    planned: bool  # an upgrade
    requests: int  # that were replayed
    total_ms: float  # from the first moment known to the last
    steps: dict[str, float]

    @classmethod
    def of(cls, message: operator.Outage) -> "Outage":
        """What a message says; moments that were not reached take no time."""
        moments = [
            *(message.killed, message.detected, message.fenced, message.promoted),
            *(message.attached, message.replayed),
        ]
        reached = [moments[0] or moments[1]]
        for moment in moments[1:]:
            reached.append(max(moment, reached[-1]))
        took = [(after - before) / 1e6 for before, after in pairwise(reached)]
        steps = dict(zip(STEPS, took, strict=True))
        if not message.killed:
            del steps["detect"]
        return cls(
            *(message.cause, message.warm, message.planned, message.requests),
            *((max(reached[-1], message.first_completion) - reached[0]) / 1e6, steps),
        )
