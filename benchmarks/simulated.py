"""What the policies promise, judged in virtual time, where no host disturbs."""

import random
from fractions import Fraction

from benchmarks.report import row, verdict
from policies.parameters import AdmissionError, VcpuParameters
from splitvisor.errors import UserError
from splitvisor.simulate.engine import simulate
from splitvisor.simulate.scenario import Scenario, Vcpu

MS = 1_000_000
SEED = 20
SETS = 10_000
HORIZON = 60 * MS  # of one set: its periods are 2 to 20 ms


def fairness(seconds: int = 100, sets: int = 20) -> None:
    """Random weights on one pCPU: how far from its share the worst vCPU is, in points."""
    draw, worst, starved = random.Random(SEED), 0.0, 0
    for _ in range(sets):
        weights = [draw.randint(64, 4096) for _ in range(draw.randint(2, 10))]
        vcpus = tuple(Vcpu(f"v{i}", VcpuParameters(w)) for i, w in enumerate(weights))
        record = simulate(Scenario("credit", vcpus, seconds * 1000 * MS), 0, 0)
        runs = [account.run for account in record.vcpus.values()]
        shares = [run / sum(runs) - w / sum(weights) for run, w in zip(runs, weights, strict=True)]
        worst = max(worst, *map(abs, shares))
        starved += sum(run == 0 for run in runs)
    row(
        f"simulated: {sets} sets of weights, {seconds} s each",
        f"{worst:.3%}",
        "error of a share at worst; " + verdict(worst <= 0.001, "at most 0.1 %"),
    )
    row("simulated: vCPUs that starved", f"{starved}", verdict(not starved, "none"))


def deadlines() -> None:
    """Random sets of reservations that admission takes, on one or two pCPUs."""
    draw = random.Random(SEED)
    admitted = refused = missed = periods = 0
    while admitted < SETS:
        pcpus = draw.randint(1, 2)
        vcpus = []
        for i in range(draw.randint(1, 8)):
            period = draw.randint(2, 20) * MS
            budget = max(MS // 10, int(period * Fraction(draw.randint(2, 60), 100)))
            vcpus.append(Vcpu(f"v{i}", VcpuParameters(budget_ns=budget, period_ns=period)))
        scenario = Scenario("deadline", tuple(vcpus), HORIZON, pcpus)
        try:
            record = simulate(scenario, 0, 0)
        except (AdmissionError, UserError):
            refused += 1
            continue
        admitted += 1
        for account in record.vcpus.values():
            missed += account.missed
            periods += account.met + account.missed
    row(
        f"simulated: {admitted:,} random task sets",
        f"{missed} missed",
        f"of {periods:,} deadlines ({refused:,} sets were refused); " + verdict(not missed, "none"),
    )


if __name__ == "__main__":
    fairness()
    deadlines()
