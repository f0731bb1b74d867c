"""Long seeded runs: one world after the other, each from a seed of its own."""

import random
import time
from collections.abc import Callable

from service_os import immediate
from tests.simulation.violation import Report, Violation
from tests.simulation.world import STEPS, World

WORLD_STEPS = 3_000  # then everything must come to rest, and the power is cut

NEVER = 1 << 63  # nanoseconds
USUAL = 4
PACES = (1, 2, USUAL, USUAL, 8, 16)


def run(seed: int, steps: int, **weights: int) -> Report:
    """At least `steps` steps from worlds with seeds `seed`, `seed` + 1, ...; Violation if a promise
    is broken. `weights` are how often a step is tried, by its name, instead of those in STEPS.
    """
    if unknown := weights.keys() - STEPS.keys():
        raise ValueError(f"no step {min(unknown)}: there are {', '.join(STEPS)}")
    report, began = Report(), time.process_time()
    limits = immediate.REPLY_BYTES, immediate.REPLY_NS
    immediate.REPLY_NS = NEVER  # what is done when depends on nothing but the seed
    try:
        while report.steps < steps:
            _world(seed + report.worlds, min(WORLD_STEPS, steps - report.steps), weights, report)
    finally:
        immediate.REPLY_BYTES, immediate.REPLY_NS = limits
        report.seconds = time.process_time() - began
    return report


def _world(seed: int, steps: int, weights: dict[str, int], report: Report) -> None:
    draw = random.Random(seed).random

    def pick(n: int) -> int:
        return int(draw() * n)

    report.worlds += 1
    try:
        live(pick, steps, _bag(pick, weights), report)
    except Violation as violation:
        violation.seed, violation.steps = seed, steps
        raise


def _bag(pick: Callable[[int], int], weights: dict[str, int]) -> list[str]:
    """Steps to be drawn from. Each world has its own pace of everything (swarm testing, Groce et
    al. 2012): what is slow in one is fast in another, and some orders of events need that.
    """
    bag = []
    for name, (weight, _) in STEPS.items():
        count = weights[name] * USUAL if name in weights else weight * PACES[pick(len(PACES))]
        bag += [name] * count
    return bag


def live(pick: Callable[[int], int], steps: int, bag: list[str], report: Report) -> None:
    """One world: so many steps, then a power cut as if, then peace, then another cut."""
    world = World(pick, report)
    take, size = world.take, len(bag)
    try:
        idle: set[str] = set()  # what could not be done, until something is
        while world.step < steps:
            name = bag[pick(size)]
            if name in idle:
                continue
            if take(name):
                idle.clear()
            else:
                idle.add(name)
        world.check_power_cut()
        world.quiesce()
        world.check_power_cut()
    finally:
        report.steps += world.step
        world.close()
