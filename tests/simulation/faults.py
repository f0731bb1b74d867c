"""Steps that do harm: kills, stops, broken streams, wrong messages, and orders in the middle."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from protos.io_pb2 import ServiceMessage
from sessions.dialogue import Phase
from splitvisor.supervisor import steps
from tests.simulation.calls import ReleaseCall
from tests.simulation.disk import SECTOR
from tests.simulation.service import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

Pick = Callable[[int], int]
POISONS = 2  # in a world at most


def kill(world: "World", pick: Pick) -> str | None:
    """SIGKILL a process, or all of them at once."""
    alive = [p for p in world.keeper.processes if not p.killed]
    if not alive:
        return None
    chosen = alive if not pick(8) else [alive[pick(len(alive))]]
    for process in chosen:
        world.keeper.dies(process)
        _truncate(process, pick)
    world.report.add("kills", len(chosen))
    return ", ".join(str(process) for process in chosen)


def _truncate(process: Process, pick: Pick) -> None:
    """What it had said and not yet sent is lost."""
    for stream in process.streams:
        for _ in range(pick(len(stream.outbox) + 1)):
            stream.outbox.pop()


def land(world: "World", pick: Pick) -> str | None:
    """What a killed process was doing is done after all."""
    streams = [s for p in world.keeper.processes if p.killed for s in p.streams if not s.over]
    if not streams:
        return None
    stream = streams[pick(len(streams))]
    if not stream.land(torn=not pick(3)):
        return None
    world.report.add("landed")
    return f"{stream.name} of epoch {stream.process.epoch}"


def stop(world: "World", pick: Pick) -> str | None:
    """SIGSTOP, which the supervisor sees."""
    running = [p for p in world.keeper.processes if p.running]
    if not running:
        return None
    process = running[pick(len(running))]
    process.stopped = True
    world.keeper.news.append(steps.Lost(process.epoch, "stopped"))
    world.report.add("stops")
    return str(process)


def resume(world: "World", pick: Pick) -> str | None:
    """SIGCONT comes before SIGKILL."""
    stopped = [p for p in world.keeper.processes if p.stopped and not p.killed]
    if not stopped:
        return None
    stopped[0].stopped = False
    return str(stopped[0])


def suspect(world: "World", pick: Pick) -> str | None:
    """The watchdog has somebody dead who is not."""
    alive = [p for p in world.keeper.processes if not p.killed]
    if not alive:
        return None
    process = alive[pick(len(alive))]
    world.keeper.news.append(steps.Lost(process.epoch, "nothing completed for 104 ms"))
    world.report.add("suspicions")
    return str(process)


def sever(world: "World", pick: Pick) -> str | None:
    """A stream breaks; its two ends live."""
    lines = [x for x in world.keeper.core.lines if x.epoch and not x.stream.broken]
    if not lines:
        return None
    line = lines[pick(len(lines))]
    stream = line.stream
    stream.broken = True
    for box in (stream.inbox, stream.outbox):
        for _ in range(pick(len(box) + 1)):
            box.pop()
    if line is line.port.standby:
        line.close("the stream broke")  # noticed before it can be promoted
    world.report.add("severed")
    return f"{line.port.name} to epoch {line.epoch}"


def upgrade(world: "World", pick: Pick) -> str | None:
    """An operator asks for an upgrade."""
    world.keeper.hear(steps.UpgradeAsked(1))
    world.report.add("upgrades")
    return f"it is {world.keeper.recovery.state}"


def impatient(world: "World", pick: Pick) -> str | None:
    """The patience of a release is over."""
    for call in world.keeper.calls:
        if isinstance(call, ReleaseCall) and world.keeper.give_up_release(call):
            return str(call.process)
    return None


def pardon(world: "World", pick: Pick) -> str | None:
    """An operator releases a device from quarantine."""
    reasons = world.keeper.recovery.quarantine.reasons
    if not reasons:
        return None
    device = min(reasons)
    world.keeper.hear(steps.DeviceReleaseAsked(device))
    world.report.add("pardons")
    return device


def lie(world: "World", pick: Pick) -> str | None:
    """A service OS says what is not so; the core must drop it."""
    lines = [x for x in world.keeper.core.lines if x.phase is Phase.ATTACHED and x.epoch]
    if not lines:
        return None
    line = lines[pick(len(lines))]
    entries = list(line.port.served.log._entries.values())
    outbox, kind = line.stream.outbox, pick(4)
    if not entries or line.stream.broken or line.process.killed:
        return None
    entry = entries[pick(len(entries))]
    message = ServiceMessage()
    message.completions.epoch = line.epoch
    add = message.completions.completions.add
    if kind == 0:
        message.completions.epoch -= 1
        add(slot=entry.slot, generation=entry.generation, written=entry.writable_bytes)
    elif kind == 1:
        add(slot=entry.slot, generation=entry.generation - 1, written=entry.writable_bytes)
    elif kind == 2:
        add(slot=entry.slot, generation=entry.generation, written=entry.writable_bytes + 1)
    elif outbox:
        message.CopyFrom(outbox[-1])
    if outbox and kind == 3 and outbox[-1].HasField("attached"):
        return None
    outbox.append(message)
    world.report.add("lies")
    what = ("another epoch", "another generation", "too many bytes", "the same again")[kind]
    return f"epoch {line.epoch} about {line.port.name}: {what}"


def lose(world: "World", pick: Pick) -> str | None:
    """A service OS keeps to itself that a request is done, and tells of later ones."""
    for line in world.keeper.core.lines:
        if line.phase is not Phase.ATTACHED or not line.port.served.log.ordered:
            continue
        find, said = line.port.served.log.find, (m.completions for m in line.stream.outbox)
        told = [m.completions for m in said if m.epoch == line.epoch]  # or it is a lie
        known = [
            c
            for t in told
            for c in t
            if (entry := find(c.slot, c.generation)) and c.written <= entry.writable_bytes
        ]
        if len(known) > 1:
            index = pick(len(known) - 1)
            message = next(t for t in told if known[index] in t)
            message.remove(known[index])
            world.report.add("lost answers")
            return f"epoch {line.epoch} about {line.port.name}, slot {known[index].slot}"
    return None


def poison(world: "World", pick: Pick) -> str | None:
    """The guest writes what no incarnation survives; its disk is to be kept away from them."""
    if len(world.disk.poison) == POISONS:
        return None
    request = world.block.submit_write(pick)
    if request is None:
        return None
    world.disk.poison.add(request.data[:SECTOR])
    return str(request)


STEPS = {
    "kill": (3, kill),
    "land": (25, land),
    "stop": (1, stop),
    "resume": (2, resume),
    "suspect": (1, suspect),
    "sever": (1, sever),
    "upgrade": (1, upgrade),
    "impatient": (1, impatient),
    "pardon": (6, pardon),
    "lie": (6, lie),
    "lose": (1, lose),
    "poison": (2, poison),
}

# What looks like poison, or takes it away. A world has these or poison: where the only deaths are
# by poison, nobody but its author may be put in quarantine.
MURKY = frozenset({"kill", "stop", "resume", "suspect", "sever", "lose", "reset"})
