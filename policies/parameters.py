"""What an operator says of one vCPU, and the one place where its ranges are checked.

Whoever uses a policy brings parameters of a class of its own; five attributes are all that counts.
"""

from dataclasses import dataclass
from typing import Protocol

MIN_WEIGHT, MAX_WEIGHT = 1, 65535
DEFAULT_WEIGHT = 256
MAX_CAP = 100  # percent: one vCPU cannot use more than one pCPU
# To take a vCPU off its pCPU costs 0.1 to 0.3 ms, so finer reservations would be kicks and little
# else; a period of more than some seconds is no promise that a guest could feel.
MIN_BUDGET_NS = 100_000
MIN_PERIOD_NS = 1_000_000
MAX_PERIOD_NS = 10_000_000_000


class InvalidError(ValueError):
    """No vCPU can have these parameters here."""


class AdmissionError(ValueError):
    """The reservation is sound but does not fit beside those that there are."""


class Parameters(Protocol):
    """As `microhypervisor.sched.policy.Parameters`; any object with these will do."""

    @property
    def weight(self) -> int:
        """1 to 65535; shares under contention are proportional to it."""

    @property
    def cap(self) -> int:
        """Percent of one pCPU that it may use at most; 0: no cap."""

    @property
    def budget_ns(self) -> int:
        """Run time reserved in every period, nanoseconds; 0: no reservation."""

    @property
    def period_ns(self) -> int:
        """Of the reservation, nanoseconds; 0: no reservation."""

    @property
    def affinity(self) -> frozenset[int]:
        """The pCPUs it may run on; empty: all."""


@dataclass(frozen=True, slots=True)
class VcpuParameters:
    """Parameters for whoever has no class of their own."""

    weight: int = DEFAULT_WEIGHT
    cap: int = 0
    budget_ns: int = 0
    period_ns: int = 0
    affinity: frozenset[int] = frozenset()


def check(parameters: Parameters, pcpus: int) -> int:
    """The pCPUs that may be used as a bit mask; InvalidError in one line that names the cure."""
    weight, cap = parameters.weight, parameters.cap
    budget, period = parameters.budget_ns, parameters.period_ns
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise InvalidError(f"weight {weight}: give {MIN_WEIGHT} to {MAX_WEIGHT}")
    if not 0 <= cap <= MAX_CAP:
        raise InvalidError(f"cap {cap}: give percent of one pCPU, 1 to {MAX_CAP}, or 0 for none")
    if budget or period:
        if not budget or not period:
            missing = "period" if budget else "budget"
            raise InvalidError(f"a reservation needs budget and period: give a {missing} too")
        if not MIN_PERIOD_NS <= period <= MAX_PERIOD_NS:
            raise InvalidError(
                f"period {period} ns: give {MIN_PERIOD_NS} ns (1 ms) to {MAX_PERIOD_NS} ns (10 s)"
            )
        if not MIN_BUDGET_NS <= budget <= period:
            raise InvalidError(
                f"budget {budget} ns: give {MIN_BUDGET_NS} ns (100 us) to the period, {period} ns"
            )
    for pcpu in sorted(parameters.affinity):
        if not 0 <= pcpu < pcpus:
            raise InvalidError(f"affinity: there is no pCPU {pcpu}: give 0 to {pcpus - 1}")
    mask = sum(1 << pcpu for pcpu in parameters.affinity)
    return mask or (1 << pcpus) - 1
