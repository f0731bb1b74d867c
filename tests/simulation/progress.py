"""Steps that bring things forward: messages travel, requests are executed, news arrive."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from splitvisor.supervisor import steps
from tests.simulation.core import FailingProcess
from tests.simulation.disk import Poisoned
from tests.simulation.service import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

Pick = Callable[[int], int]


def say(world: "World", pick: Pick) -> str | None:
    """The core says the next thing on a stream."""
    lines = [line for line in world.keeper.core.lines if line.awake]
    if not lines:
        return None
    line = lines[pick(len(lines))]
    said = line.say()
    requests = ""
    if said == "batch" and not line.stream.broken:
        batch = line.stream.inbox[-1].batch
        slots = ", ".join(f"{r.slot}" for r in batch.requests)
        requests = f" of slots {slots}" + (", replayed" if batch.replay else "")
        if batch.replay:
            world.report.add("replayed", len(batch.requests))
    return f"{line.port.name} to epoch {line.epoch}: {said or 'nothing'}{requests}"


def hear(world: "World", pick: Pick) -> str | None:
    """The core hears the next thing on a stream, or that it has ended."""
    lines = [
        x
        for x in world.keeper.core.lines
        if x.stream.outbox or x.stream.broken or x.stream.over or x.process.killed
    ]
    if not lines:
        return None
    line = lines[pick(len(lines))]
    outbox = line.stream.outbox
    what = outbox[0].WhichOneof("body") if outbox else "the end"
    line.hear()
    return f"{line.port.name} from epoch {line.epoch}: {what}"


def launch(world: "World", pick: Pick) -> str | None:
    """A process that was started listens."""
    starting = [p for p in world.keeper.processes if p.running and not p.launched]
    if not starting:
        return None
    process = starting[pick(len(starting))]
    process.launched = True
    world.keeper.news.append(steps.Started(process.epoch, process.epoch))
    world.report.add("launches")
    return str(process)


def attach(world: "World", pick: Pick) -> str | None:
    """A process opens a device."""
    lines = [
        x for x in world.keeper.core.lines if x.process.running and x.stream.opening and x.epoch
    ]
    if not lines:
        return None
    line = lines[pick(len(lines))]
    if line.port.away:
        line.refused = True
        line.close("it is away", asked=True)  # whoever waits for it is told
        return f"{line.port.name} not by epoch {line.epoch}: it is away"
    line.stream.start(line.port.make_driver(), line.granted)
    return f"{line.port.name} by epoch {line.epoch}"


def serve(world: "World", pick: Pick) -> str | None:
    """A process does its next bit of work for a device."""
    streams = [
        stream
        for process in world.keeper.processes
        if process.running
        for stream in process.streams
        if stream.ready
    ]
    if not streams:
        return None
    stream = streams[pick(len(streams))]
    left = len(stream.inbox)
    try:
        did = stream.step()
    except Poisoned:
        world.keeper.dies(stream.process)
        world.report.add("poisoned")
        did = "dies of poison"
    return f"epoch {stream.process.epoch} {did} for {stream.name} ({left} messages waiting)"


def refuse(world: "World", pick: Pick) -> str | None:
    """The core itself answers for a device that fails."""
    for line in world.keeper.core.lines:
        if isinstance(line.process, FailingProcess) and line.process.step():
            world.report.add("refused")
            return line.port.name
    return None


def call(world: "World", pick: Pick) -> str | None:
    """A call to the core gets on, or is answered."""
    happened = world.keeper.finish_calls()
    return ", ".join(f"{type(x).__name__} of {x.process}" for x in happened) or None


def news(world: "World", pick: Pick) -> str | None:
    """Recovery hears of something."""
    keeper = world.keeper
    if not keeper.news:
        return None
    event = keeper.news.pop(pick(len(keeper.news)))
    keeper.hear(event)
    return f"{event}; it is {keeper.recovery.state}"


def event(world: "World", pick: Pick) -> str | None:
    """Recovery hears the next event of the core."""
    keeper = world.keeper
    if not keeper.events:
        return None
    happened = keeper.events.popleft()
    keeper.hear(happened)
    return f"{happened}; it is {keeper.recovery.state}"


def reap(world: "World", pick: Pick) -> str | None:
    """A process that was fenced is gone."""
    keeper = world.keeper
    if not keeper.fencing:
        return None
    process = keeper.fencing[pick(len(keeper.fencing))]
    keeper.reap(process)
    return _named(process)


def tick(world: "World", pick: Pick) -> str | None:
    """Time passes until recovery's deadline."""
    deadline = world.keeper.recovery.deadline
    if deadline is None:
        return None
    world.keeper.now = max(world.keeper.now, deadline)
    world.keeper.hear(steps.Tick())
    return f"it is {world.keeper.recovery.state}"


def _named(process: Process) -> str:
    return f"epoch {process.epoch}"


STEPS = {
    "say": (200, say),
    "hear": (200, hear),
    "launch": (40, launch),
    "attach": (60, attach),
    "serve": (300, serve),
    "refuse": (100, refuse),
    "call": (60, call),
    "news": (60, news),
    "event": (100, event),
    "reap": (20, reap),
    "tick": (4, tick),
}

# Without faults: what must be enough for everything to come to its end. A tick only if nothing
# else is left to do.
QUIET = (
    "launch",
    "attach",
    "say",
    "serve",
    "refuse",
    "hear",
    "call",
    "news",
    "event",
    "reap",
    "kick",
    "interrupt",
)
