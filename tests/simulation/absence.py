"""Steps of the host: an image is away for a while, and nobody can open it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from splitvisor.supervisor import steps
from splitvisor.supervisor.states import SETTLED

if TYPE_CHECKING:
    from tests.simulation.world import World

Pick = Callable[[int], int]


def withdraw(world: "World", pick: Pick) -> str | None:
    """From now on nobody opens a device; whoever has it open does not mind."""
    port = world.ports[pick(len(world.ports))]
    if port.away:
        return None
    port.away = True
    world.report.add("withdrawn")
    return port.name


def give_back(world: "World", pick: Pick) -> str | None:
    """It is there again."""
    away = [port for port in world.ports if port.away]
    if not away:
        return None
    port = away[pick(len(away))]
    port.away = False
    return port.name


def again(world: "World", pick: Pick) -> str | None:
    """Time passes until a device is to be tried again; a tick alone would seldom come to that."""
    recovery = world.keeper.recovery
    due = recovery.unserved.deadline
    if due is None or recovery.state not in SETTLED:
        return None
    world.keeper.now = max(world.keeper.now, due)
    world.keeper.hear(steps.Tick())
    return ", ".join(recovery.unserved.devices)


STEPS = {
    "withdraw": (1, withdraw),
    "give_back": (6, give_back),
    "again": (40, again),
}
