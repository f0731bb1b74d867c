"""Steps of the guest: it submits, rings, takes interrupts, and now and then resets a device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

Pick = Callable[[int], int]
_QUEUES = (
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (1, 0),
    (1, 1),
    (1, 1),
    (2, 0),
    (3, 0),
    (3, 0),
)  # port, queue


def submit(world: "World", pick: Pick) -> str | None:
    """One request more."""
    number, queue = _QUEUES[pick(len(_QUEUES))]
    port = world.ports[number]
    text = port.work.submit(queue, pick)
    return text and f"{port.name}: {text}"


def kick(world: "World", pick: Pick) -> str | None:
    """Ring for what was made available."""
    waiting = [
        (port, queue)
        for port in world.ports
        for queue in port.work.queues
        if port.work.driver.unkicked[queue]
    ]
    if not waiting:
        return None
    port, queue = waiting[pick(len(waiting))]
    rung = port.work.driver.kick(queue)
    return f"{port.name}: queue {queue} " + ("rung" if rung else "not rung: not wanted")


def interrupt(world: "World", pick: Pick) -> str | None:
    """Take an interrupt and judge what came back."""
    pending = [port for port in world.ports if port.work.driver.pending]
    if not pending:
        return None
    port = pending[pick(len(pending))]
    back = port.work.driver.interrupted()
    for queue, head, written, request in back:
        port.work.complete(queue, head, written, request)
    if not port.failing:
        port.work.may_fail = False
    world.report.add("completions", len(back))
    return f"{port.name}: {len(back)} came back: " + ", ".join(
        f"{request} (head {head})" for _, head, _, request in back
    )


def scribble(world: "World", pick: Pick) -> str | None:
    """Overwrite descriptors and header of a request that the core has read already."""
    port = world.ports[pick(len(world.ports))]
    entries = list(port.served.log._entries.values())
    if not entries or not port.work.queues:
        return None
    entry = entries[pick(len(entries))]
    port.work.scribble(entry.queue, entry.head)
    return f"{port.name}: over head {entry.head} of queue {entry.queue}"


def reset(world: "World", pick: Pick) -> str | None:
    """Reset a device and bring it up again, whatever is out."""
    port = world.ports[pick(len(world.ports))]
    if not port.work.queues:
        return None  # ports have no reset
    out = sum(map(len, port.work.driver.out))
    if hasattr(port.work, "dropped"):
        port.work.dropped()
    port.work.driver.start(bool(pick(2)))
    world.report.add("resets")
    return f"{port.name}: with {out} requests out"


def typed(world: "World", pick: Pick) -> str | None:
    """Somebody types a word."""
    data = world.type()
    return None if data is None else f"word {world.typed - 1}"


STEPS = {
    "submit": (200, submit),
    "kick": (200, kick),
    "interrupt": (150, interrupt),
    "scribble": (12, scribble),
    "reset": (1, reset),
    "type": (15, typed),
}
